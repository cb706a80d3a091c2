// SPDX-License-Identifier: MIT
// The flash chips: partitions that obey NOR rules, take their time, count, log, fail as they
// are told, and are kept in files, so that killing the process at any moment is an unplug.
//
// An operation is the erase of one block or the program of (a part of) one page; operations
// are numbered from 1, and faults name them by number.
import fs from 'node:fs';
import { sleep } from './shared.mjs';

const EIO = 5, EINVAL = 22;
const PAGE = 256;

function mulberry32(seed)
{
	return () => {
		seed = (seed + 0x6d2b79f5) | 0;
		let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
	};
}

class Partition {
	constructor(number, spec, prefix)
	{
		Object.assign(this, spec, { number, address: 0, fd: -1 });
		this.page = Math.max(PAGE, this.unit);
		if (prefix)
			this.open(`${prefix}.${number}`);
	}

	open(name)
	{
		this.fd = fs.openSync(name, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
		const have = fs.fstatSync(this.fd).size;
		if (have < this.size)
			fs.writeSync(this.fd, Buffer.alloc(this.size - have, 0xff), 0, this.size - have, have);
	}

	load(into)
	{
		for (let at = 0; at < this.size && this.fd >= 0;) {
			const n = fs.readSync(this.fd, into, at, this.size - at, at);
			if (!n)
				break;
			at += n;
		}
	}
}

export class Flash {
	// `unplug` ends the board at once, as power loss would, and does not return.
	constructor(specs, numbers, { prefix, log, unplug })
	{
		this.partitions = specs.map((spec, i) => new Partition(i, spec, prefix));
		this.numbers = numbers;
		this.unplug = unplug;
		this.log = log ? fs.openSync(log, 'a') : -1;
		this.late = 0;
	}

	// Gives every partition a place in the memory of a new interpreter, and its contents:
	// from its file, or from the memory of the interpreter before.
	attach(mp)
	{
		const before = this.memory;
		const old = this.partitions.map((p) => p.address);
		for (const p of this.partitions)
			p.address = mp._module._malloc(p.size);
		this.memory = mp.bytes;
		this.partitions.forEach((p, i) => {
			const bytes = this.bytes(p);
			if (p.fd >= 0)
				p.load(bytes);
			else if (before)
				bytes.set(before().subarray(old[i], old[i] + p.size));
			else
				bytes.fill(0xff);
		});
	}

	bytes(p)
	{
		return this.memory().subarray(p.address, p.address + p.size);
	}

	#write(entry)
	{
		if (this.log >= 0)
			fs.writeSync(this.log, JSON.stringify(entry) + '\n');
	}

	#violation(what, p, off, len)
	{
		this.numbers.add('violations');
		this.#write({ kind: 'violation', what, partition: p.number, off, len });
		return -EINVAL;
	}

	#save(p, off, len)
	{
		if (p.fd >= 0 && len)
			fs.writeSync(p.fd, this.bytes(p).slice(off, off + len), 0, len, off);
	}

	// The time an operation takes; what a wake-up came late by is taken off the next.
	#busy(ms)
	{
		if (!(ms > 0))
			return;
		const start = performance.now(), end = start + ms - this.late;
		for (let left = end - start; left > 0; left = end - performance.now())
			sleep(left);
		this.late = Math.min(performance.now() - end, 5);
	}

	// Numbers an operation and says what is to become of it.
	#fate(p, what, off, len)
	{
		const n = this.numbers.add('ops');
		const is = (name) => this.numbers.get(name) === n;
		const sticky = this.numbers.get('fail_sticky') && this.numbers.get('fail_at') &&
			n >= this.numbers.get('fail_at');
		const fate = is('hang_at') ? 'hang' : is('cut_at') ? 'cut' :
			is('fail_at') || sticky ? 'fail' : is('noop_at') ? 'noop' : undefined;
		if (fate)
			this.#write({ n, fault: fate, kind: what, partition: p.number, off, len });
		while (fate === 'hang')
			sleep(1e9);
		return fate;
	}

	// The operation that power loss interrupts: the first part of it done, or, where
	// mixed, every bit with that probability.
	#cut(p, off, len, target)
	{
		const fraction = this.numbers.get('cut_fraction');
		const bytes = this.bytes(p);
		if (this.numbers.get('cut_mixed')) {
			const random = mulberry32(this.numbers.get('seed') + this.numbers.get('ops'));
			for (let i = 0; i < len; i++)
				for (let bit = 1; bit < 256; bit <<= 1)
					if (random() < fraction)
						bytes[off + i] = (bytes[off + i] & ~bit) | (target(i) & bit);
		} else {
			for (let i = 0; i < Math.floor(len * fraction); i++)
				bytes[off + i] = target(i);
		}
		this.#save(p, off, len);
		this.unplug();
	}

	#eraseBlock(p, off)
	{
		const fate = this.#fate(p, 'erase', off, p.erase);
		if (fate === 'fail')
			return -(this.numbers.get('fail_errno') || EIO);
		if (fate === 'cut')
			this.#cut(p, off, p.erase, () => 0xff);
		this.#busy(this.numbers.get('erase_ms'));
		if (fate !== 'noop') {
			this.bytes(p).fill(0xff, off, off + p.erase);
			this.#save(p, off, p.erase);
		}
		this.numbers.add('erases');
		return 0;
	}

	// Whole blocks; 0 or -errno, with the blocks before the one that failed erased.
	erase(number, off, len)
	{
		const p = this.partitions[number];
		if (off < 0 || len < 0 || off + len > p.size)
			return this.#violation('erase out of bounds', p, off, len);
		if (off % p.erase || len % p.erase)
			return this.#violation('erase not aligned', p, off, len);
		const first = this.numbers.get('ops') + 1;
		let result = 0;
		for (let at = off; at < off + len && !result; at += p.erase)
			result = this.#eraseBlock(p, at);
		if (len)
			this.#write({ n: first, ops: this.numbers.get('ops') - first + 1, kind: 'erase',
				partition: number, off, len, result });
		return result;
	}

	#doubles(p, off, data)
	{
		const bytes = this.bytes(p);
		let units = 0;
		for (let at = 0; at < data.length; at += p.unit) {
			const end = Math.min(at + p.unit, data.length);
			let used = false, wanted = false;
			for (let i = at; i < end; i++) {
				used ||= bytes[off + i] !== 0xff;
				wanted ||= data[i] !== 0xff;
			}
			units += used && wanted;
		}
		return units;
	}

	#programPage(p, off, data)
	{
		const fate = this.#fate(p, 'program', off, data.length);
		const bytes = this.bytes(p);
		const target = p.kind === 'mram' ? (i) => data[i] : (i) => bytes[off + i] & data[i];
		if (fate === 'fail')
			return -(this.numbers.get('fail_errno') || EIO);
		if (fate === 'cut')
			this.#cut(p, off, data.length, target);
		this.#busy(this.numbers.get('program_us') / 1000 * Math.ceil(data.length / PAGE));
		if (fate !== 'noop') {
			for (let i = 0; i < data.length; i++)
				bytes[off + i] = target(i);
			this.#save(p, off, data.length);
		}
		this.numbers.add('pages');
		return 0;
	}

	// Whole write units; 0 or -errno, with the pages before the one that failed programmed.
	program(number, off, address, len)
	{
		const p = this.partitions[number];
		if (off < 0 || off + len > p.size)
			return this.#violation('program out of bounds', p, off, len);
		if (off % p.unit || len % p.unit)
			return this.#violation('program not aligned', p, off, len);
		const data = this.memory().slice(address, address + len);
		const double = p.kind === 'mram' ? 0 : this.#doubles(p, off, data);
		if (double && p.once) {
			this.#violation('unit programmed twice', p, off, len);
			return -EIO;
		}
		const first = this.numbers.get('ops') + 1;
		let result = 0;
		for (let at = 0; at < len && !result;) {
			const n = Math.min(p.page - (off + at) % p.page, len - at);
			result = this.#programPage(p, off + at, data.subarray(at, at + n));
			at += n;
		}
		this.numbers.add('programs');
		this.numbers.add('programmed_bytes', len);
		this.numbers.add('double_programs', double);
		if (len)
			this.#write({ n: first, ops: this.numbers.get('ops') - first + 1,
				kind: 'program', partition: number, off, len, double, result });
		return result;
	}

	outOfRange(number, off, len)
	{
		this.#violation('no such block', this.partitions[number], off, len);
		return -EIO;
	}
}
