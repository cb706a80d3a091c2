// SPDX-License-Identifier: MIT
// Loads the real MicroPython interpreter, with two changes to its wasm module that a board
// needs and a web page does not:
//  - its memory is shared, so that another thread can deliver Ctrl-C as an interrupt
//    handler would, into any program, `while True: pass` included;
//  - the size up to which its heap grows by itself is ours to choose.
// The module is compiled once per thread; a soft reset is a new instance of it.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = process.env.ROMOUNT_BOARD_MODULES || path.join(here, 'node_modules');
const packageDir = path.join(modules, '@micropython/micropython-webassembly-pyscript');

function readUleb(bytes, p)
{
	let value = 0, shift = 0, byte;
	do {
		byte = bytes[p++];
		value += (byte & 0x7f) * 2 ** shift;
		shift += 7;
	} while (byte & 0x80);
	return [value, p];
}

// The flag byte of the module's memory: 1 is "has a maximum", 3 "and is shared".
function shareMemory(bytes)
{
	let p = 8;
	while (p < bytes.length) {
		const id = bytes[p++];
		let size;
		[size, p] = readUleb(bytes, p);
		if (id === 5) {
			if (bytes[p] !== 1 || bytes[p + 1] !== 1)
				throw new Error('MicroPython module: unexpected memory section');
			bytes[p + 1] = 3;
			return;
		}
		p += size;
	}
	throw new Error('MicroPython module: no memory section');
}

// A function that returns 128 MiB and does nothing else: the largest region that the heap
// may grow by.
function limitHeap(bytes, limit)
{
	const body = Buffer.from([0x08, 0x00, 0x41, 0x80, 0x80, 0x80, 0xc0, 0x00, 0x0b]);
	const at = bytes.indexOf(body);
	if (at < 0 || bytes.indexOf(body, at + 1) >= 0)
		throw new Error('MicroPython module: heap limit not found');
	for (let i = 0; i < 5; i++) {
		bytes[at + 3 + i] = (limit & 0x7f) | (i < 4 ? 0x80 : 0);
		limit = Math.floor(limit / 128);
	}
}

function compile(heapGrowth)
{
	const bytes = fs.readFileSync(path.join(packageDir, 'micropython.wasm'));
	shareMemory(bytes);
	limitHeap(bytes, heapGrowth);
	return new WebAssembly.Module(bytes);
}

// Returns an async function () -> interpreter. `hook(imports, memory)` may replace imports
// of each instance; memory() is its Uint8Array of the moment (growth replaces it).
export async function interpreterFactory({ heap, heapGrowth, hook })
{
	if (!fs.existsSync(packageDir))
		throw new Error(`${packageDir} is missing: run "npm ci" in ${here}`);
	const { loadMicroPython } =
		await import(pathToFileURL(path.join(packageDir, 'micropython.mjs')));
	const module = compile(heapGrowth);

	return async () => {
		let exports;
		const memory = () => new Uint8Array(exports.memory.buffer);
		WebAssembly.instantiate = async (binary, imports) => {
			hook?.(imports, memory);
			const instance = new WebAssembly.Instance(module, imports);
			exports = instance.exports;
			return { instance, module };
		};
		const mp = await loadMicroPython({ heapsize: heap, linebuffer: false,
			stdout: (b) => process.stderr.write(Buffer.from(b)) });
		mp.bytes = memory;
		return mp;
	};
}
