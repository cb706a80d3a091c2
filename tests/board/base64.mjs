// SPDX-License-Identifier: MIT
// base64 as binascii of a real board has it. There it is C; in this build of MicroPython it is
// Python, and takes 0.3 ms per byte.

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const values = new Int8Array(256).fill(-1);
for (let i = 0; i < DIGITS.length; i++)
	values[DIGITS.charCodeAt(i)] = i;
const PAD = '='.charCodeAt(0);

export function encode(bytes)
{
	return Buffer.from(Buffer.from(bytes).toString('base64'), 'latin1');
}

// The bytes, or undefined where the padding is wrong. What is no digit is passed over, and
// padding ends it.
export function decode(text)
{
	const out = new Uint8Array(Math.floor(text.length / 4) * 3 + 3);
	let bits = 0, held = 0, length = 0;
	for (let i = 0; i < text.length; i++) {
		if (values[text[i]] >= 0) {
			held = (held << 6 | values[text[i]]) & 0xffff;
			bits += 6;
			if (bits >= 8) {
				bits -= 8;
				out[length++] = held >> bits;
			}
		} else if (text[i] === PAD && (bits === 2 || (bits === 4 && text.includes(PAD, i + 1)))) {
			bits = 0;
			break;
		}
	}
	return bits ? undefined : out.subarray(0, length);
}
