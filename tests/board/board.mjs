// SPDX-License-Identifier: MIT
// The emulated board, under board.c, which owns the pty and paces the line. This thread
// plays the hardware: it receives bytes and interrupts the program at Ctrl-C, answers the
// control socket, and watches the thread in which MicroPython runs (interpreter.mjs).
import fs from 'node:fs';
import net from 'node:net';
import { Worker } from 'node:worker_threads';
import { Control } from './control.mjs';
import { OptionError, USAGE, readOptions } from './options.mjs';
import { Numbers, Ring } from './shared.mjs';

const FROM_HOST = 3, COMMANDS = 5; // descriptors; board.c says what they are
const EXIT_POWER_LOST = 42;

class Board {
	constructor(options)
	{
		this.options = options;
		this.numbers = new Numbers();
		for (const [name, value] of Object.entries(options.numbers))
			this.numbers.set(name, value);
		this.ring = new Ring(options.rx_buffer);
		this.answers = [];
		this.line = new net.Socket({ fd: COMMANDS });
		this.line.setEncoding('utf8');
		this.boots = 0; // interpreters that have begun, and were taken notice of
		this.flips = [];
		let text = '';
		this.line.on('data', (chunk) => {
			const lines = (text + chunk).split('\n');
			text = lines.pop();
			for (const answer of lines)
				this.answers.shift()(JSON.parse(answer));
		});
		this.setLine(options.line);
	}

	setLine(settings)
	{
		for (const [name, value] of Object.entries(settings))
			this.line.write(`${name} ${value}\n`);
	}

	#ask(command)
	{
		this.line.write(command + '\n');
		return new Promise((resolve) => this.answers.push(resolve));
	}

	async stats()
	{
		return { ...await this.#ask('stats'), ...this.numbers.counters() };
	}

	async resetStats()
	{
		this.line.write('reset\n');
		this.numbers.resetCounters();
		return { ok: true };
	}

	#flashOf(n)
	{
		const where = this.memory?.flash[n];
		if (!where)
			throw new Error(`no partition "${n}"`);
		return new Uint8Array(this.memory.memory, where.address, where.size);
	}

	// A copy of what partition `n` holds now.
	flash(n)
	{
		return Buffer.from(this.#flashOf(n));
	}

	// An interpreter that was copying the flash while a bit of it was turned may have the old
	// one.
	#booted(memory)
	{
		this.memory = memory;
		this.boots++;
		for (const { n, off, was } of this.flips.splice(0)) {
			const bytes = this.#flashOf(n);
			if (bytes[off] === was)
				bytes[off] ^= 1;
		}
	}

	// One bit turns over, as it does in flash that ages; in its file too, which the next
	// interpreter is given.
	flip(n, off)
	{
		const bytes = this.#flashOf(n);
		if (!(off >= 0 && off < bytes.length))
			throw new Error(`no byte ${off} in partition "${n}"`);
		if (this.numbers.get('boots') !== this.boots)
			this.flips.push({ n, off, was: bytes[off] });
		bytes[off] ^= 1;
		if (!this.options.flash)
			return;
		const fd = fs.openSync(`${this.options.flash}.${n}`, 'r+');
		fs.writeSync(fd, bytes.slice(off, off + 1), 0, 1, off);
		fs.closeSync(fd);
	}

	start()
	{
		this.worker = new Worker(new URL('./interpreter.mjs', import.meta.url), {
			workerData: { options: this.options, numbers: this.numbers.memory,
				ring: this.ring.memory, ringSize: this.ring.size },
		});
		this.worker.on('message', (message) => this.#message(message));
		this.worker.on('error', (e) => this.#fatal(e));
		this.input = new net.Socket({ fd: FROM_HOST, readable: true, writable: false });
		this.input.on('data', (bytes) => this.#receive(bytes));
		this.input.on('end', () => process.exit(0));
	}

	#fatal(e)
	{
		console.error(e.stack ?? e);
		process.exit(1);
	}

	async #message(message)
	{
		if (message.unplug)
			return this.end(EXIT_POWER_LOST);
		if (message.memory)
			this.#booted({ ...message, words: new Int32Array(message.memory) });
		if (message.ready) {
			const { link } = this.options;
			const pts = await this.#ask(link ? `link ${link}` : 'pts');
			console.log(JSON.stringify({ ready: link ?? pts, pts, pid: process.ppid }));
		}
	}

	// What a port's interrupt handler does (shared/runtime/interrupt_char.c): Ctrl-C, where
	// enabled, becomes an exception that is pending, and is not received.
	#interrupt()
	{
		const { words, addresses: at } = this.memory;
		words[(at.exceptionValue >> 2) + 2] = 0; // the traceback of the last time
		words[at.exception] = at.exceptionValue;
		if (words[at.state] === 1)
			words[at.state] = 0;
		if (this.numbers.get('ctrl_c_flush'))
			this.ring.flush();
		this.ring.wake();
	}

	#receive(bytes)
	{
		for (;;) {
			const c = this.memory?.words[this.memory.addresses.interruptChar] ?? -1;
			const at = c >= 0 ? bytes.indexOf(c) : -1;
			if (at < 0)
				return this.#store(bytes);
			this.#store(bytes.subarray(0, at));
			this.#interrupt();
			bytes = bytes.subarray(at + 1);
		}
	}

	#store(bytes)
	{
		if (this.waiting)
			return void (this.waiting = Buffer.concat([this.waiting, bytes]));
		const stored = this.ring.push(bytes);
		if (stored === bytes.length)
			return;
		if (this.options.rx_overflow === 'drop')
			return void this.numbers.add('rx_dropped', bytes.length - stored);
		this.waiting = bytes.subarray(stored);
		this.input.pause();
		this.#retry();
	}

	// The ring is full: as on USB, the host waits.
	#retry()
	{
		setTimeout(() => {
			const bytes = this.waiting;
			this.waiting = undefined;
			this.#receive(bytes);
			if (!this.waiting)
				this.input.resume();
		}, 1);
	}

	async writeStats()
	{
		if (this.options.stats)
			fs.writeFileSync(this.options.stats, JSON.stringify(await this.stats()) + '\n');
	}

	async end(code)
	{
		await this.writeStats();
		process.exit(code);
	}
}

try {
	const options = readOptions(process.argv.slice(2));
	if (options.help) {
		process.stdout.write(USAGE);
		process.exit(0);
	}
	const board = new Board(options);
	if (options.control)
		await new Control(board).listen(options.control);
	process.on('SIGUSR1', () => board.writeStats());
	process.on('SIGTERM', () => board.end(0));
	board.start();
} catch (e) {
	if (!(e instanceof OptionError))
		throw e;
	console.error(`board: ${e.message}`);
	process.exit(2);
}
