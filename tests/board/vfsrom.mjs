// SPDX-License-Identifier: MIT
// What the board's own VfsRom makes of images: mount, walk, hash every file.
import crypto from 'node:crypto';
import { interpreterFactory } from './core.mjs';

const walker = `
def _walk(fs, report):
    stack = [b'']
    while stack:
        d = stack.pop()
        for name, kind, _, size in fs.ilistdir(d or b'/'):
            path = d + b'/' + name
            if kind == 0x4000:
                report(bytes(path).hex(), -1, 0)
                stack.append(path)
            else:
                m = memoryview(fs.open(path, 'rb'))
                report(bytes(path).hex(), len(m), uctypes.addressof(m) if len(m) else 0)
def _tree(address, size, report):
    try:
        fs = vfs.VfsRom(memoryview(uctypes.bytearray_at(address, size)))
    except OSError as e:
        return 'mount error: ' + repr(e)
    try:
        _walk(fs, report)
    except Exception as e:
        return 'walk error: ' + repr(e)
import vfs, uctypes
`;

const utf8 = new TextDecoder('utf-8', { fatal: true });

// Names that are not UTF-8 are shown as "bytes:" and their hexadecimal digits.
function pathOf(hex)
{
	const raw = Buffer.from(hex, 'hex').subarray(1);
	try {
		return utf8.decode(raw);
	} catch {
		return 'bytes:' + raw.toString('hex');
	}
}

export class RomReader {
	#factory;
	#mp;
	#buffer = 0;
	#capacity = 0;

	async #load(image)
	{
		this.#factory ??= await interpreterFactory({ heap: 512 << 10,
			heapGrowth: 64 << 20 });
		if (!this.#mp) {
			this.#mp = await this.#factory();
			this.#mp.runPython(walker);
			this.#capacity = 0;
		}
		if (this.#capacity < image.length) {
			if (this.#capacity)
				this.#mp._module._free(this.#buffer);
			this.#buffer = this.#mp._module._malloc(image.length);
			this.#capacity = image.length;
		}
		this.#mp.bytes().set(image, this.#buffer);
	}

	// {"files": {path: {size, sha256}}, "dirs": [path]} or {"error": text}. A path that
	// VfsRom lists more than once is in "duplicates" as well; "outside" lists files whose
	// data is not inside the image.
	async tree(image)
	{
		await this.#load(image);
		const out = { files: {}, dirs: [] };
		const add = (hex, size, address) => {
			const name = pathOf(hex);
			if (size < 0)
				return void out.dirs.push(name);
			if (name in out.files)
				(out.duplicates ??= []).push(name);
			const from = this.#buffer;
			if (size && (address < from || address + size > from + image.length))
				(out.outside ??= []).push(name);
			const bytes = this.#mp.bytes().subarray(address, address + size);
			out.files[name] = { size,
				sha256: crypto.createHash('sha256').update(bytes).digest('hex') };
		};
		try {
			const error = this.#mp.globals.get('_tree')(this.#buffer, image.length, add);
			return error ? { error } : out;
		} catch (e) {
			this.#mp = undefined; // a trap leaves the instance unusable
			return { error: `interpreter: ${e.message}` };
		}
	}

	// Imports `module` from the image, mounted at /rom of an interpreter of its own, and
	// gives {"repr": ...} of the module, or of its attribute.
	async import(image, module, attribute)
	{
		this.#mp = undefined;
		await this.#load(image);
		const mp = this.#mp;
		this.#mp = undefined;
		mp.globals.set('_args', [this.#buffer, image.length, module, attribute ?? null]);
		try {
			return { repr: mp.runPython(importer) ?? mp.globals.get('_repr') };
		} catch (e) {
			return { error: e.message };
		}
	}
}

const importer = `
import sys
_m = memoryview(uctypes.bytearray_at(_args[0], _args[1]))
vfs.mount(vfs.VfsRom(_m), '/rom')
sys.path[:] = ['/rom', '/rom/lib']
_module = __import__(_args[2], None, None, ('*',))
_repr = repr(getattr(_module, _args[3]) if _args[3] else _module)
`;
