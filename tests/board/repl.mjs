// SPDX-License-Identifier: MIT
// The REPL of the board as a host sees it. The interpreter has MicroPython's own friendly
// and raw REPL, fed one byte at a time; raw paste needs an input that blocks inside of the
// parser, which this build lacks, so its handshake is done here, as shared/runtime/pyexec.c
// of MicroPython specifies it, and so are soft resets.

const A = 1, B = 2, C = 3, D = 4, E = 5;
const WINDOW = 128;
const RAW_BANNER = 'raw REPL; CTRL-B to exit\r\n';
const NATIVE_MACHINE = 'JS with Emscripten';

export class Repl {
	#byte = new Uint8Array(1);

	constructor(machine, ring, output, numbers, options)
	{
		Object.assign(this, { machine, ring, output, numbers, options });
		this.raw = false;
		this.line = []; // of the raw REPL: its first bytes, to know raw paste and emptiness
	}

	#read()
	{
		while (!this.ring.length) {
			const ticket = this.ring.ticket;
			if (!this.ring.length)
				this.ring.wait(ticket);
		}
		this.ring.pop(this.#byte);
		return this.#byte[0];
	}

	#write(text)
	{
		this.output.raw(Buffer.from(text, 'latin1'));
	}

	// One byte into MicroPython's REPL; true where it wants a soft reset.
	#feed(byte)
	{
		return (this.mp.replProcessChar(byte) & 0x100) !== 0;
	}

	#banner(bytes)
	{
		return bytes.toString('latin1').replace(NATIVE_MACHINE, this.options.machine);
	}

	async #start()
	{
		this.mp = await this.machine.boot();
		this.line = [];
	}

	#startRepl()
	{
		const banner = this.output.during(() => this.mp.replInit());
		if (this.raw) {
			this.output.during(() => this.#feed(A));
			this.#write(RAW_BANNER + '>');
		} else {
			this.#write(this.#banner(banner).replace(/^\r\n/, ''));
		}
	}

	async #softReset()
	{
		if (this.machine.hard) { // as after power-on: in the friendly REPL
			this.machine.hard = this.raw = false;
			this.numbers.add('hard_resets');
		} else {
			this.numbers.add('soft_resets');
			this.#write('MPY: soft reboot\r\n');
		}
		await this.#start();
		if (!this.raw)
			this.#runMain();
		this.#startRepl();
	}

	#runMain()
	{
		try {
			if (this.machine.main)
				this.machine.runMain(this.machine.main);
		} catch (e) { // Ctrl-C that came when it was over
			this.output.text(Buffer.from(e.message));
		}
	}

	async run(ready)
	{
		await this.#start();
		ready();
		this.#runMain();
		this.#startRepl();
		for (;;) {
			const byte = this.#read();
			const reset = this.raw ? this.#rawByte(byte) : this.#friendlyByte(byte);
			if (reset)
				await this.#softReset();
		}
	}

	#friendlyByte(byte)
	{
		if (byte !== A && byte !== B)
			return this.#feed(byte);
		let reset;
		const said = this.output.during(() => { reset = this.#feed(byte); });
		this.#write(this.#banner(said));
		this.raw = said.toString('latin1').endsWith(RAW_BANNER + '>');
		this.line = [];
		return reset;
	}

	#rawByte(byte)
	{
		const paste = this.line.length === 2 && this.line[0] === E;
		if (byte === A && paste && this.line[1] === 'A'.charCodeAt(0)) {
			this.line = [];
			return this.#rawPaste();
		}
		if (byte === B) {
			this.raw = false;
			this.#write(this.#banner(this.output.during(() => this.#feed(B))));
			return false;
		}
		if (byte === A || byte === C || byte === D)
			this.line = [];
		else if (this.line.length < 3)
			this.line.push(byte);
		return this.#feed(byte);
	}

	#rawPaste()
	{
		this.output.during(() => this.#feed(C)); // forget the command
		switch (this.options.raw_paste) {
		case 'no': // firmware that knows the command and does not support it
			this.#write('R\x00>');
			return false;
		case 'unknown': // firmware from before it
			this.#write(RAW_BANNER + '>');
			return false;
		}
		this.#write('R\x01' + String.fromCharCode(WINDOW, 0, 1));
		const { code, end } = this.#readPaste();
		this.#write('\x04');
		if (end === C) {
			this.#write('\x04KeyboardInterrupt: \r\n\x04>');
			return false;
		}
		if (end === undefined)
			while (![C, D].includes(this.#read()));
		return this.#execute(code);
	}

	// Collects code until its end, or until MicroPython's parser would have given up.
	#readPaste()
	{
		const code = [];
		let lines = 0, checked = 0;
		for (let remain = WINDOW;;) {
			const byte = this.#read();
			if (byte === C || byte === D)
				return { code, end: byte };
			code.push(byte);
			lines += byte === 10;
			if (--remain)
				continue;
			if (lines > checked && this.#givesUp(code, lines))
				return { code, end: undefined };
			checked = lines;
			this.#write('\x01');
			remain = WINDOW;
		}
	}

	// True where the complete lines so far hold an error that no further line can mend:
	// one in a line before the last. Errors of the compiler come after the end, not here.
	#givesUp(code, lines)
	{
		const text = Buffer.from(code.slice(0, code.lastIndexOf(10) + 1)).toString('latin1');
		try {
			this.mp.runPython(`compile(${JSON.stringify(text)}, '<stdin>', 'exec')`);
		} catch (e) {
			const line = /File "<stdin>", line (\d+)\n(\w+): (.*)/.exec(
				e.message.slice(e.message.lastIndexOf('  File')));
			return line !== null && Number(line[1]) < lines &&
				(line[2] === 'IndentationError' || /^invalid syntax/.test(line[3]));
		}
		return false;
	}

	// Runs what was pasted. Its text is not kept on the heap, as on a board, where the parser
	// reads it from the line.
	#execute(code)
	{
		const { type, text } = this.machine.execute(Buffer.from(code));
		this.#write('\x04');
		if (type === 'SystemExit') {
			this.#write('\x04');
			return true;
		}
		this.output.text(Buffer.from(text));
		this.#write('\x04>');
		return false;
	}
}
