/** Numbers of people that are given as a count or as a fraction of all. Pure. */

/**
 * How many of `all` that is: a count as it stands; a fraction rounded up, at least one.
 *
 * The server's rule, `_part_of` in `backend/rounds/state.py`: in decimals, so that 0.07 of 100 is 7.
 */
export function shareOf(share, all) {
  if (Number.isInteger(share)) return share;
  const [mantissa, exponent = "0"] = String(share).split("e");
  const [whole, decimals = ""] = mantissa.split(".");
  const denominator = 10n ** BigInt(decimals.length - Number(exponent));
  const part = BigInt(whole + decimals) * BigInt(all);
  return Math.max(1, Number((part + denominator - 1n) / denominator));
}
