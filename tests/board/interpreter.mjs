// SPDX-License-Identifier: MIT
// The thread in which MicroPython runs: its imports are hooked so that its standard streams
// are the serial line, reading blocks, and sleeping sleeps. The other thread (board.mjs)
// fills the ring and delivers Ctrl-C by writing into this one's memory.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { decode, encode } from './base64.mjs';
import { interpreterFactory } from './core.mjs';
import { Flash } from './flash.mjs';
import { Repl } from './repl.mjs';
import { Numbers, Ring, sleep } from './shared.mjs';

const { options } = workerData;
const numbers = new Numbers(workerData.numbers);
const ring = new Ring(workerData.ringSize, workerData.ring);
const here = path.dirname(fileURLToPath(import.meta.url));

const TO_HOST = 4; // descriptor
// Descriptors inside of MicroPython: 0 and 1 are text (CR to LF, LF to CRLF), these are not.
const FD_IN = 64, FD_OUT = 65;
const WASI_EINTR = 27;
// Where ticks jump to when a sleeping program is interrupted, so that its wait is over.
const TICKS_JUMP = 0x3fffffff;
const POLLIN = 1, POLLOUT = 4;
const CTRL_C = 3;
const RAISED = -1; // kind of result: an exception, as "type 0x04 text"

// --- output ---------------------------------------------------------------------------

class Output {
	last = 0;
	capture = undefined; // an array while output is kept from the host

	raw(bytes)
	{
		if (!bytes.length)
			return;
		this.last = bytes[bytes.length - 1];
		if (this.capture)
			return void this.capture.push(Buffer.from(bytes));
		for (let at = 0; at < bytes.length;)
			at += fs.writeSync(TO_HOST, bytes, at);
	}

	// LF to CRLF, except where a CR is there already: the REPL writes its own.
	text(bytes)
	{
		if (!bytes.includes(10))
			return this.raw(bytes);
		const out = [];
		let last = this.last;
		for (const byte of bytes) {
			if (byte === 10 && last !== 13)
				out.push(13);
			out.push(byte);
			last = byte;
		}
		this.raw(Buffer.from(out));
	}

	// What `run` writes, instead of sending it.
	during(run)
	{
		this.capture = [];
		try {
			run();
			return Buffer.concat(this.capture);
		} finally {
			this.capture = undefined;
		}
	}
}

const output = new Output();

// --- interrupts ------------------------------------------------------------------------

// Where MicroPython keeps what an interrupt handler touches; found out once, by looking.
let addresses;
let words; // Int32Array of the memory of the interpreter

// The static variables of the interpreter lie in here.
function lowMemory(mp)
{
	return new Int32Array(mp.bytes().slice(0, 384 << 10).buffer);
}

function changed(mp, action)
{
	const before = lowMemory(mp);
	action();
	const after = lowMemory(mp);
	const found = [];
	for (let i = 0; i < before.length; i++)
		if (before[i] !== after[i])
			found.push({ at: i, from: before[i], to: after[i] });
	return found;
}

function findAddresses(mp)
{
	const memory = new Int32Array(mp.bytes().buffer);
	const interrupt = changed(mp, () => mp._module._mp_sched_keyboard_interrupt());
	const exception = interrupt.find((w) => w.from === 0 && w.to !== 0);
	const state = interrupt.find((w) => w.from === 1 && w.to === 0);
	for (const w of interrupt)
		memory[w.at] = w.from;
	const mark = 0x5a5a;
	const char = changed(mp, () => mp.runPython(
		`import micropython; micropython.kbd_intr(${mark})`)).filter((w) => w.to === mark);
	mp.runPython('micropython.kbd_intr(-1)');
	const interruptChar = char.find((w) => {
		const was = memory[w.at];
		memory[w.at] = mark;
		const found = mp._module._mp_hal_get_interrupt_char() === mark;
		memory[w.at] = was;
		return found;
	});
	if (!exception || !state || !interruptChar)
		throw new Error('MicroPython: its interrupt state was not found');
	return { exception: exception.at, exceptionValue: exception.to, state: state.at,
		interruptChar: interruptChar.at };
}

function interrupted()
{
	return addresses !== undefined && words[addresses.exception] !== 0;
}

// --- garbage ---------------------------------------------------------------------------

// This build collects garbage only when the outermost call into it returns, so a program
// that runs on would grow for ever. Where only Python frames are below us nothing lives in
// C variables alone, and it may be collected at once: pretend that this is the outermost.
class Collector {
	static at; // index of the word that counts calls into the interpreter

	constructor(mp)
	{
		this.mp = mp;
		Collector.at ??= this.#findDepth(mp);
		mp.runPython('_probe = {"x": 0}');
		this.probe = mp.globals.get('_probe');
		mp.globals.delete('_probe');
		this.out = mp._module._malloc(12);
	}

	#findDepth(mp)
	{
		const depth = { one: undefined, two: undefined };
		mp.registerJsModule('_depth', {
			one: () => { depth.one = lowMemory(mp); },
			two: () => { depth.two = lowMemory(mp); },
			again: (f) => { f(); },
		});
		const zero = lowMemory(mp);
		mp.runPython('import _depth\n_depth.one()\n_depth.again(lambda: _depth.two())\n' +
			'del _depth\nimport sys\ndel sys.modules["_depth"]\ndel sys');
		const at = zero.findIndex((v, i) =>
			v === 0 && depth.one[i] === 1 && depth.two[i] === 2);
		if (at < 0)
			throw new Error('MicroPython: its depth of calls was not found');
		return at;
	}

	run()
	{
		const memory = new Int32Array(this.mp.bytes().buffer);
		const depth = memory[Collector.at];
		memory[Collector.at] = 0;
		this.mp._module.ccall('proxy_c_to_js_lookup_attr', 'null',
			['number', 'string', 'pointer'], [this.probe._ref, 'x', this.out]);
		memory[Collector.at] = depth;
	}
}

// --- imports ---------------------------------------------------------------------------

function readInto(target, text)
{
	while (!ring.length) {
		const ticket = ring.ticket;
		if (interrupted())
			return -WASI_EINTR;
		if (!ring.length)
			ring.wait(ticket);
	}
	const n = ring.pop(target);
	for (let i = 0; text && i < n; i++)
		if (target[i] === 13)
			target[i] = 10;
	return n;
}

function pollReady(view, fds, count)
{
	let ready = 0;
	for (let i = 0; i < count; i++) {
		const at = fds + i * 8;
		const fd = view.getInt32(at, true), events = view.getInt16(at + 4, true);
		const readable = fd === 0 || fd === FD_IN;
		const revents = events & ((readable && ring.length ? POLLIN : 0) | POLLOUT);
		view.setInt16(at + 6, revents, true);
		ready += revents !== 0;
	}
	return ready;
}

let lastTick = 0, ticksInARow = 0;

function hook(imports, memory)
{
	const wasi = imports.wasi_snapshot_preview1, env = imports.env;
	const view = () => new DataView(memory().buffer);
	const { fd_read, fd_write } = wasi;
	const ticks = env.mp_js_ticks_ms;

	wasi.fd_write = (fd, iov, count, pnum) => {
		if (fd !== 1 && fd !== 2 && fd !== FD_OUT)
			return fd_write(fd, iov, count, pnum);
		const v = view();
		let total = 0;
		for (let i = 0; i < count; i++) {
			const at = v.getUint32(iov + i * 8, true), n = v.getUint32(iov + i * 8 + 4, true);
			const bytes = memory().slice(at, at + n);
			if (fd === FD_OUT)
				output.raw(bytes);
			else
				output.text(bytes);
			total += n;
		}
		v.setUint32(pnum, total, true);
		return 0;
	};
	wasi.fd_read = (fd, iov, count, pnum) => {
		if (fd !== 0 && fd !== FD_IN)
			return fd_read(fd, iov, count, pnum);
		const v = view();
		const at = v.getUint32(iov, true), n = v.getUint32(iov + 4, true);
		const got = n ? readInto(memory().subarray(at, at + n), fd === 0) : 0;
		if (got < 0)
			return -got;
		v.setUint32(pnum, got, true);
		return 0;
	};
	env.__syscall_poll_nonblocking = (fds, count) => pollReady(view(), fds, count);
	env.__syscall_poll = (fds, count, timeout) => {
		const end = timeout < 0 ? Infinity : performance.now() + timeout;
		for (;;) {
			const ticket = ring.ticket;
			const ready = pollReady(view(), fds, count);
			const left = end - performance.now();
			if (ready || left <= 0)
				return ready;
			if (interrupted())
				return -WASI_EINTR;
			ring.wait(ticket, left);
		}
	};
	// time.sleep() asks for the ticks until they have passed: give the processor away.
	env.mp_js_ticks_ms = () => {
		const now = ticks();
		if (interrupted())
			return now + TICKS_JUMP;
		ticksInARow = now - lastTick > 1 ? 0 : ticksInARow + 1;
		lastTick = now;
		if (ticksInARow > 20)
			sleep(0.25);
		return now;
	};
}

// --- the machine -----------------------------------------------------------------------

// Ends the board from this thread, at once.
function unplug()
{
	parentPort.postMessage({ unplug: true });
	for (;;)
		sleep(1e9);
}

class Machine {
	constructor(factory)
	{
		this.factory = factory;
		this.flash = new Flash(options.partitions, numbers,
			{ prefix: options.flash, log: options.log, unplug });
		this.main = options.main && fs.readFileSync(options.main, 'utf8');
		this.bootSource = fs.readFileSync(path.join(here, 'boot.py'), 'utf8');
	}

	#config()
	{
		return JSON.stringify({
			partitions: this.flash.partitions.map(({ kind, size, erase, unit, address }) =>
				({ kind, size, erase, unit, address })),
			segments: options.segments ?? options.partitions.length,
			rom_ioctl: options.rom_ioctl, stdin_buffer: options.stdin_buffer,
			platform: options.platform, machine: options.machine, uid: options.uid,
			mpy: options.mpy, heap: options.heap, fd_in: FD_IN, fd_out: FD_OUT,
			hidden: ['js', 'jsffi', ...(options.deflate ? [] : ['deflate', 'zlib', 'gzip']),
				...(options.hashlib ? [] : ['hashlib', 'hmac']),
				...(options.binascii ? [] : ['binascii', 'base64'])],
		});
	}

	// Runs code with Ctrl-C enabled: the type and the text of the exception that ended it, or
	// empty strings.
	execute(code)
	{
		const { _module: m } = this.mp;
		const source = m._malloc(code.length + 1), result = m._malloc(12);
		this.mp.bytes().set(code, source);
		words[addresses.interruptChar] = CTRL_C;
		m.ccall('mp_js_do_exec', 'null', ['number', 'number', 'pointer'],
			[source, code.length, result]);
		words[addresses.interruptChar] = -1;
		const [kind, length, at] = [0, 4, 8].map((i) => m.getValue(result + i, 'i32'));
		m._free(source);
		m._free(result);
		if (interrupted()) { // it came when the program was over
			words[addresses.exception] = 0;
			return { type: 'KeyboardInterrupt', text: 'KeyboardInterrupt: \n' };
		}
		if (kind !== RAISED)
			return { type: '', text: '' };
		const [type, text] = m.UTF8ToString(at, length).split('\x04');
		m._free(at);
		return { type, text };
	}

	// Both write their result to `to`, and give its length; what cannot be decoded is -1.
	#base64()
	{
		const by = (code) => (at, size, to) => {
			const memory = this.mp.bytes(), out = code(memory.subarray(at, at + size));
			memory.set(out ?? [], to);
			return out?.length ?? -1;
		};
		return { b64encode: by(encode), b64decode: by(decode) };
	}

	// A new interpreter over the same flash, up to where a board starts main.py.
	async boot()
	{
		const mp = this.mp = await this.factory();
		addresses ??= findAddresses(mp);
		const collector = new Collector(mp);
		numbers.add('boots');
		this.flash.attach(mp);
		words = new Int32Array(mp.bytes().buffer);
		let operations = 0;
		const tidy = (result) => {
			if (++operations % 64 === 0)
				collector.run();
			return result;
		};
		mp.registerJsModule('_board', {
			config: () => this.#config(),
			erase: (p, off, len) => tidy(this.flash.erase(p, off, len)),
			program: (p, off, at, len) => tidy(this.flash.program(p, off, at, len)),
			out_of_range: (p, off, len) => this.flash.outOfRange(p, off, len),
			available: () => ring.length,
			collect: () => collector.run(),
			hard_reset: () => { this.hard = true; },
			...this.#base64(),
		});
		mp.globals.set('_source', this.bootSource);
		mp.runPython('_boot = {"__name__": "boot"}\nexec(_source, _boot)\n' +
			'_boot["install"](globals())\n_run_main = _boot["run_main"]\n' +
			'del _boot, _source');
		this.runMain = mp.globals.get('_run_main');
		mp.globals.delete('_run_main');
		parentPort.postMessage({ memory: mp.bytes().buffer, addresses,
			flash: this.flash.partitions.map(({ address, size }) => ({ address, size })) });
		return mp;
	}
}

const factory = await interpreterFactory({ heap: options.heap, heapGrowth: options.heap,
	hook });
const machine = new Machine(factory);
await new Repl(machine, ring, output, numbers, options).run(
	() => parentPort.postMessage({ ready: true }));
