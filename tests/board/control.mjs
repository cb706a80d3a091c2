// SPDX-License-Identifier: MIT
// The control socket: a line in, a line of JSON out. See README.md for the commands.
import fs from 'node:fs';
import net from 'node:net';
import { cut, fail, number } from './options.mjs';
import { SETTINGS } from './shared.mjs';
import { RomReader } from './vfsrom.mjs';

const LINE_KEYS = ['speed', 'latency', 'late', 'stall', 'seed', 'lose_in', 'lose_out',
	'flip_in', 'flip_out', 'dup_in', 'dup_out'];

export class Control {
	#reader = new RomReader();

	constructor(board)
	{
		this.board = board;
	}

	listen(path)
	{
		fs.rmSync(path, { force: true });
		const server = net.createServer((socket) => {
			let text = '', queue = Promise.resolve();
			socket.on('error', () => {});
			socket.on('data', (chunk) => {
				const lines = (text + chunk).split('\n');
				text = lines.pop();
				for (const line of lines)
					queue = queue.then(() => this.#answer(line.trim()))
						.then((answer) => socket.write(JSON.stringify(answer) + '\n'));
			});
		});
		return new Promise((resolve, reject) => {
			server.on('error', reject);
			server.listen(path, resolve);
		});
	}

	async #answer(line)
	{
		const [command, ...args] = line.split(/\s+/);
		try {
			switch (command) {
			case 'stats': return await this.board.stats();
			case 'reset': return await this.board.resetStats();
			case 'set': return this.#set(args);
			case 'tree': return await this.#reader.tree(this.board.flash(args[0]));
			case 'import': return await this.#reader.import(this.board.flash(args[0]),
				args[1], args[2]);
			case 'dump':
				fs.writeFileSync(args[1], this.board.flash(args[0]));
				return { ok: true };
			case 'flip':
				this.board.flip(args[0], Number(args[1]));
				return { ok: true };
			}
			return { error: `unknown command "${command}"` };
		} catch (e) {
			return { error: e.message };
		}
	}

	#set([name, value])
	{
		const key = String(name).replaceAll('-', '_');
		const all = key === 'cut_at' ? cut(value) : key === 'fail_at' ? fail(value) :
			{ [key]: number(value, key) };
		for (const [k, v] of Object.entries(all)) {
			if (['lose', 'flip', 'dup'].includes(k))
				this.board.setLine({ [`${k}_in`]: v, [`${k}_out`]: v });
			else if (LINE_KEYS.includes(k))
				this.board.setLine({ [k]: v });
			else if (!SETTINGS.includes(k))
				throw new Error(`unknown setting "${k}"`);
			if (SETTINGS.includes(k))
				this.board.numbers.set(k, v);
		}
		return { ok: true };
	}
}
