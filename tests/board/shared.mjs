// SPDX-License-Identifier: MIT
// What the two threads of a board share: numbers (settings that may change while it runs,
// and counters) and the ring of received bytes.

const NAMES = [
	// settings; times in ms and us, operation numbers from 1, 0 is never
	'erase_ms', 'program_us', 'cut_at', 'cut_fraction', 'cut_mixed', 'fail_at',
	'fail_errno', 'fail_sticky', 'noop_at', 'hang_at', 'seed', 'ctrl_c_flush',
	// counters
	'ops', 'erases', 'programs', 'pages', 'programmed_bytes', 'double_programs',
	'violations', 'soft_resets', 'hard_resets', 'rx_dropped',
	// interpreters that have begun to take the flash over
	'boots',
];
export const SETTINGS = NAMES.slice(0, NAMES.indexOf('ops'));
export const COUNTERS = NAMES.slice(NAMES.indexOf('ops'), NAMES.indexOf('boots'));
const INDEX = new Map(NAMES.map((name, i) => [name, i]));

export class Numbers {
	constructor(memory = new SharedArrayBuffer(8 * NAMES.length))
	{
		this.memory = memory;
		this.values = new Float64Array(memory);
	}

	get(name)
	{
		return this.values[INDEX.get(name)];
	}

	set(name, value)
	{
		this.values[INDEX.get(name)] = value;
	}

	add(name, n = 1)
	{
		return this.values[INDEX.get(name)] += n;
	}

	counters()
	{
		return Object.fromEntries(COUNTERS.map((name) => [name, this.get(name)]));
	}

	resetCounters()
	{
		for (const name of COUNTERS)
			this.set(name, 0);
	}
}

// One writer, one reader. WAKE changes whenever the reader should look again.
const HEAD = 0, TAIL = 1, WAKE = 2, HEADER = 16;

export class Ring {
	constructor(size, memory = new SharedArrayBuffer(HEADER + size))
	{
		this.memory = memory;
		this.size = size;
		this.words = new Int32Array(memory, 0, HEADER / 4);
		this.data = new Uint8Array(memory, HEADER, size);
	}

	get length()
	{
		return (Atomics.load(this.words, HEAD) - Atomics.load(this.words, TAIL)) | 0;
	}

	get space()
	{
		return this.size - this.length;
	}

	// As many bytes as fit; returns how many.
	push(bytes)
	{
		const n = Math.min(bytes.length, this.space);
		const head = this.words[HEAD];
		for (let i = 0; i < n; i++)
			this.data[((head + i) >>> 0) % this.size] = bytes[i];
		Atomics.store(this.words, HEAD, (head + n) | 0);
		this.wake();
		return n;
	}

	wake()
	{
		Atomics.add(this.words, WAKE, 1);
		Atomics.notify(this.words, WAKE);
	}

	// Called by the writer, as an interrupt handler would: what was received is gone.
	flush()
	{
		Atomics.store(this.words, TAIL, this.words[HEAD]);
	}

	// Waits until something may have changed since `seen` was read, or `ms` have passed.
	get ticket()
	{
		return Atomics.load(this.words, WAKE);
	}

	wait(ticket, ms)
	{
		Atomics.wait(this.words, WAKE, ticket, ms);
	}

	// Copies up to out.length bytes; returns how many there were.
	pop(out)
	{
		const tail = Atomics.load(this.words, TAIL);
		const n = Math.min(out.length, this.length);
		for (let i = 0; i < n; i++)
			out[i] = this.data[((tail + i) >>> 0) % this.size];
		// Unless it was flushed meanwhile.
		Atomics.compareExchange(this.words, TAIL, tail, (tail + n) | 0);
		return n;
	}
}

const nap = new Int32Array(new SharedArrayBuffer(4));

export function sleep(ms)
{
	Atomics.wait(nap, 0, 0, ms);
}
