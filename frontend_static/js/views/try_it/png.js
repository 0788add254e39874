/**
 * PNG files with one grey or three colour channels.
 *
 * A canvas writes four channels only, which the server would take for a colour picture: a model of
 * grey ones would then be given three pictures instead of one.
 */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const COLOUR = 2;

/** A file of `{channels, height, width, values}`, values in [0, 1]. */
export async function pngOf({ channels, height, width, values }) {
  const plane = height * width;
  const lines = new Uint8Array(height * (1 + channels * width));
  for (let y = 0; y < height; y += 1) {
    // Every line starts with its filter: 0, none.
    const start = y * (1 + channels * width) + 1;
    for (let x = 0; x < width; x += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        const value = values[channel * plane + y * width + x];
        lines[start + x * channels + channel] = Math.round(value * 255);
      }
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8; // bits per channel
  header[9] = channels === 1 ? GREY : COLOUR;
  const parts = [
    new Uint8Array(SIGNATURE),
    chunk("IHDR", header),
    chunk("IDAT", await deflated(lines)),
    chunk("IEND", new Uint8Array()),
  ];
  return new Blob(parts, { type: "image/png" });
}

/** Whether the server reads this file as one grey channel. */
export function isGreyFile(bytes) {
  if (SIGNATURE.every((byte, i) => bytes[i] === byte)) return bytes[25] === GREY || bytes[25] === 4;
  return jpegChannels(bytes) === 1;
}

/** How many channels a JPEG file says it has; null for another file. */
function jpegChannels(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  let at = 2;
  while (at + 9 < bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return bytes[at + 9];
    at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
  }
  return null;
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(type, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc32(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
