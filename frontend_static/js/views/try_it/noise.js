/** Noise that is the same every time for the same seed. Pure. */

/** Uniform numbers in [0, 1) by Mulberry32: small, and good enough for noise to look at. */
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` numbers drawn from N(0, 1) (Box and Muller 1958). */
export function normals(count, seed) {
  const next = uniform(seed);
  return Float64Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - next()));
    return radius * Math.cos(2 * Math.PI * next());
  });
}

/** The values with noise of this share of their range, kept in [0, 1]; all channels alike. */
export function noisyPixels(pixels, share, seed) {
  const { channels, height, width, values } = pixels;
  const noise = normals(height * width, seed);
  const noisy = Float64Array.from(values, (value, index) =>
    Math.min(1, Math.max(0, value + share * noise[index % noise.length])),
  );
  return { channels, height, width, values: noisy };
}

/** As `noisyPixels`, in grains as large as what the model sees as one pixel. */
export function grainyPixels(pixels, { height: rows, width: columns }, share, seed) {
  const { channels, height, width, values } = pixels;
  const noise = normals(rows * columns, seed);
  const noisy = Float64Array.from(values, (value, index) => {
    const y = Math.floor(index / width) % height;
    const x = index % width;
    const grain = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
    return Math.min(1, Math.max(0, value + share * noise[grain]));
  });
  return { channels, height, width, values: noisy };
}

/** How much the numbers vary: their standard deviation, or their size when they are all the same. */
export function spread(flat) {
  const mean = flat.reduce((sum, x) => sum + x, 0) / flat.length;
  const deviation = Math.sqrt(flat.reduce((sum, x) => sum + (x - mean) ** 2, 0) / flat.length);
  return deviation || Math.abs(mean) || 1;
}

/** Nested samples with noise of this share of their spread. */
export function noisySamples(samples, share, seed) {
  const flat = samples.flat(Infinity);
  const noise = normals(flat.length, seed);
  const size = share * spread(flat);
  let index = 0;
  const shaken = (value) =>
    Array.isArray(value) ? value.map(shaken) : rounded(value + size * noise[index++]);
  return shaken(samples);
}

/** To six digits: what is sent is what is shown and copied, without tails of rounding. */
export const rounded = (value) => Number(value.toPrecision(6));
