// SPDX-License-Identifier: MIT
// Options of the board, from the command line and from a JSON file (--config) whose keys are
// the long names without the dashes; the command line wins.
import fs from 'node:fs';

const UNITS = { block: 256, partial: 4, whole: 4, mram: 16, readonly: 1, oldpartial: 4 };

export const USAGE = `usage: board [option ...]
An emulated board: real MicroPython on a pty, with ROM partitions in emulated flash.
Runs until it is ended; SIGKILL is an unplug.

  --link PATH           stable symlink to the port; made when the board is ready
  --partition KIND:SIZE[:ERASE[:UNIT[:once]]]
                        a ROM partition, up to 4; KIND is block, partial, oldpartial,
                        whole, mram or readonly; sizes in bytes, or with K or M;
                        once: a unit may be programmed once per erase (ECC flash)
  --flash PREFIX        keep partition N in the file PREFIX.N
  --erase-ms MS         per erase block
  --program-us-per-256 US
  --speed BYTES_PER_S   of the line, each way; 0 is unlimited
  --latency-ms MS       of the line, each way
  --late MS             the board answers that much later
  --tx-timeout-ms MS    output is dropped when nobody has read for so long (5000; 0: never)
  --rx-buffer BYTES     what the board can receive before it is read (65536)
  --rx-overflow HOW     wait (as USB does) or drop (as a UART does)
  --ctrl-c-flush        Ctrl-C empties the receive buffer, as on tinyusb ports
  --heap BYTES          free for Python (192K)
  --raw-paste HOW       yes, no (answers R\\x00), unknown (prints the banner again)
  --no-raw-paste        --raw-paste no
  --no-deflate  --no-hashlib  --no-binascii  --no-stdin-buffer  --no-rom-ioctl
  --segments N          what rom_ioctl(1) says
  --uid HEX  --platform NAME  --machine NAME  --mpy N
  --main FILE           main.py
  --cut-at N[:FRACTION[:mixed]]
                        power is lost in the N-th flash operation, which is done to that
                        fraction; mixed: bits at random; the board exits with code 42
  --fail-at N[:ERRNO]   the N-th operation fails  --fail-sticky  and all after it
  --noop-at N           the N-th operation does nothing and says that it did
  --hang-at N           the board stops in the N-th operation
  --lose RATE  --flip RATE  --dup RATE
                        per byte on the line; also --lose-in, --lose-out and so on, where
                        in is from the host to the board
  --seed N
  --log FILE            one line of JSON per flash operation
  --stats FILE          counters, written at the end and on SIGUSR1
  --control PATH        control socket; see README.md
  --config FILE         options from JSON
  --help
`;

const FLAGS = {
	'ctrl-c-flush': false, 'no-raw-paste': false, 'no-deflate': false, 'no-hashlib': false,
	'no-binascii': false, 'no-stdin-buffer': false, 'no-rom-ioctl': false,
	'fail-sticky': false,
};
const VALUES = {
	link: undefined, flash: undefined, 'erase-ms': 0, 'program-us-per-256': 0, speed: 0,
	'latency-ms': 0, late: 0, 'tx-timeout-ms': 5000, 'rx-buffer': '64K',
	'rx-overflow': 'wait', heap: '192K', 'raw-paste': 'yes', segments: undefined,
	uid: 'e6614103e7452a2f', platform: 'rp2', machine: 'Emulated board with WebAssembly',
	mpy: 0x306, main: undefined, 'cut-at': undefined, 'fail-at': undefined, 'noop-at': 0,
	'hang-at': 0, lose: 0, flip: 0, dup: 0, 'lose-in': undefined, 'lose-out': undefined,
	'flip-in': undefined, 'flip-out': undefined, 'dup-in': undefined, 'dup-out': undefined,
	seed: 1, log: undefined, stats: undefined, control: undefined, config: undefined,
};

export class OptionError extends Error {}

export function number(text, what)
{
	const match = /^(-?[0-9.]+(?:e-?[0-9]+)?|0x[0-9a-f]+)([kKmM]?)$/.exec(String(text));
	const value = match && Number(match[1]) * { k: 1 << 10, m: 1 << 20 }[match[2].toLowerCase()];
	const plain = match && (match[2] ? value : Number(match[1]));
	if (!match || !Number.isFinite(plain))
		throw new OptionError(`${what}: "${text}" is not a number`);
	return plain;
}

function partition(text)
{
	const [kind, size, erase, unit, once] = String(text).split(':');
	if (!(kind in UNITS))
		throw new OptionError(`--partition ${text}: unknown kind "${kind}"`);
	const p = { kind, size: number(size, '--partition') };
	p.erase = erase ? number(erase, '--partition') : kind === 'mram' ? 16 : 4096;
	p.unit = unit ? number(unit, '--partition') : UNITS[kind];
	p.once = once === 'once';
	if (p.size % p.erase || p.erase % p.unit || (once && !p.once))
		throw new OptionError(`--partition ${text}: sizes are not multiples`);
	return p;
}

function parse(args)
{
	const raw = { partition: [] };
	for (let i = 0; i < args.length; i++) {
		const match = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(args[i]);
		if (!match)
			throw new OptionError(`${args[i]}: unknown argument; try --help`);
		const [, name, attached] = match;
		if (name === 'help') {
			raw.help = true;
		} else if (name in FLAGS) {
			raw[name] = true;
		} else if (name in VALUES || name === 'partition') {
			const value = attached ?? args[++i];
			if (value === undefined)
				throw new OptionError(`--${name} needs a value`);
			if (name === 'partition')
				raw.partition.push(value);
			else
				raw[name] = value;
		} else {
			throw new OptionError(`--${name}: unknown option; try --help`);
		}
	}
	return raw;
}

function withFile(raw)
{
	const file = JSON.parse(fs.readFileSync(raw.config, 'utf8'));
	for (const name of Object.keys(file))
		if (!(name in FLAGS) && !(name in VALUES) && name !== 'partition')
			throw new OptionError(`${raw.config}: unknown option "${name}"`);
	if (!raw.partition.length)
		delete raw.partition;
	return { partition: [], ...file, ...raw };
}

// "N:FRACTION:mixed" and the like
export function cut(text)
{
	const [at, fraction, mixed] = String(text ?? 0).split(':');
	return { cut_at: number(at, 'cut-at'), cut_mixed: mixed === 'mixed' ? 1 : 0,
		cut_fraction: fraction ? number(fraction, 'cut-at') : 0.5 };
}

export function fail(text)
{
	const [at, errno] = String(text ?? 0).split(':');
	return { fail_at: number(at, 'fail-at'), fail_errno: errno ? number(errno, 'fail-at') : 5 };
}

export function readOptions(args)
{
	let raw = parse(args);
	if (raw.config)
		raw = withFile(raw);
	const o = { ...FLAGS, ...VALUES, ...raw };
	const num = (name) => number(o[name], `--${name}`);
	if (o.partition.length > 4)
		throw new OptionError('at most 4 partitions');
	return {
		help: o.help, link: o.link, flash: o.flash, log: o.log, stats: o.stats,
		control: o.control, main: o.main,
		partitions: o.partition.map(partition),
		segments: o.segments === undefined ? undefined : num('segments'),
		heap: num('heap'), rx_buffer: num('rx-buffer'), rx_overflow: o['rx-overflow'],
		raw_paste: o['no-raw-paste'] ? 'no' : o['raw-paste'],
		deflate: !o['no-deflate'], hashlib: !o['no-hashlib'], binascii: !o['no-binascii'],
		stdin_buffer: !o['no-stdin-buffer'], rom_ioctl: !o['no-rom-ioctl'],
		uid: o.uid, platform: o.platform, machine: o.machine, mpy: num('mpy'),
		numbers: {
			erase_ms: num('erase-ms'), program_us: num('program-us-per-256'),
			...cut(o['cut-at']), ...fail(o['fail-at']), fail_sticky: o['fail-sticky'] ? 1 : 0,
			noop_at: num('noop-at'), hang_at: num('hang-at'), seed: num('seed'),
			ctrl_c_flush: o['ctrl-c-flush'] ? 1 : 0,
		},
		line: {
			seed: num('seed'), speed: num('speed'), latency: num('latency-ms'),
			late: num('late'), stall: num('tx-timeout-ms'),
			...Object.fromEntries(['lose', 'flip', 'dup'].flatMap((fault) =>
				['in', 'out'].map((way) => [`${fault}_${way}`,
					number(o[`${fault}-${way}`] ?? o[fault], `--${fault}`)]))),
		},
	};
}
