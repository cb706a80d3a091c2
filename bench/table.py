# SPDX-License-Identifier: MIT
"""Tables of what was measured: beside each figure the limit by the model and the aim."""

COLUMNS = ("what", "measured", "limit", "ratio", "to reach", "erases", "pages", "to the board",
           "from it", "mpremote", "mpremote / romount")


def seconds(value):
    if value >= 10:
        return "%.1f s" % value
    return "%.2f s" % value if value >= 1 else "%.0f ms" % (value * 1000) \
        if value >= 0.01 else "%.1f ms" % (value * 1000)


def number(value):
    return "{:,}".format(int(value)) if value == int(value) else "{:,.2f}".format(value)


class Row:
    def __init__(self, what, measured, limit=None, ratio=None, to_reach=None, met=True,
                 cost=None, saves=1):
        self.cells = {"what": what, "measured": measured, "limit": limit}
        if ratio is not None:
            self.cells["ratio"] = "%.2f" % ratio
        if to_reach:
            self.cells["to reach"] = to_reach + ("" if met else " (missed)")
        if cost:
            self.add_cost(cost, saves)

    def add_cost(self, cost, saves=1):
        for column, value in (("erases", cost.erases), ("pages", cost.pages),
                              ("to the board", cost.bytes_in), ("from it", cost.bytes_out)):
            self.cells[column] = number(round(value / saves, 2) if saves > 1 else value)

    def add_peer(self, peer, wall):
        """mpremote's Cost of the same, where romount took `wall` seconds."""
        self.cells["mpremote"] = "%s, %s erases" % (seconds(peer.wall), number(peer.erases))
        self.cells["mpremote / romount"] = "%.1f x" % (peer.wall / wall)


def failed(what, why):
    return Row(what, "failed: " + why)


def show(title, rows, markdown):
    columns = [c for c in COLUMNS if any(row.cells.get(c) for row in rows)]
    lines = [columns] + [[row.cells.get(c) or "" for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print("\n**%s**\n" % title if markdown else "\n%s\n" % title)
    for at, line in enumerate(lines):
        padded = [line[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("| %s |" % " | ".join(padded) if markdown else "  ".join(padded).rstrip())
        if at == 0:
            rule = ["-" * width for width in widths]
            if markdown:
                rule = [rule[0]] + [dash[:-1] + ":" for dash in rule[1:]]
            print("| %s |" % " | ".join(rule) if markdown else "  ".join(rule))
    print(flush=True)
