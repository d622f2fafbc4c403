"""tangram-replay run, written anew from docs/planner.md ("What a run is, exactly") and from nothing
else: a slow and plain simulator to hold the real one against."""
import heapq

# Model -> memory slots, compute slices, {profile: (size, starts, compute slices)}.  Variants (+me,
# +gfx) are left out: traces here do not ask for them.
EIGHT = {"1g": (1, range(7), 1), "1gd": (2, (0, 2, 4, 6), 1), "2g": (2, (0, 2, 4), 2),
         "3g": (4, (0, 4), 3), "4g": (4, (0,), 4), "7g": (8, (0,), 7)}
MODELS = {
    "H100-SXM5-80GB": (8, 7, {"1g.10gb": EIGHT["1g"], "1g.20gb": EIGHT["1gd"],
                              "2g.20gb": EIGHT["2g"], "3g.40gb": EIGHT["3g"],
                              "4g.40gb": EIGHT["4g"], "7g.80gb": EIGHT["7g"]}),
    "A100-SXM4-40GB": (8, 7, {"1g.5gb": EIGHT["1g"], "1g.10gb": EIGHT["1gd"],
                              "2g.10gb": EIGHT["2g"], "3g.20gb": EIGHT["3g"],
                              "4g.20gb": EIGHT["4g"], "7g.40gb": EIGHT["7g"]}),
    "A30": (4, 4, {"1g.6gb": (1, range(4), 1), "2g.12gb": (2, (0, 2), 2),
                   "4g.24gb": (4, (0,), 4)}),
}


def window(size, start):
    return ((1 << size) - 1) << start


class Gpu:
    def __init__(self, number, model):
        self.number, self.model = number, model
        self.slots, self.slices, self.profiles = MODELS[model]
        self.busy = 0
        self.turn = 0  # GPUs between it and the last one used, in their order

    def resolve(self, want):
        """Name or "2g": the smallest profile with that many compute slices."""
        if want in self.profiles:
            return want
        if want == "gpu":
            return next(p for p, (size, _, _) in self.profiles.items() if size == self.slots)
        named = [p for p in self.profiles if p.startswith(want + ".")]
        return min(named, key=lambda p: self.profiles[p][0]) if named else None

    def free(self, busy):
        return self.slots - bin(busy).count("1")

    def placements_left(self, busy):
        return sum(not busy & window(size, s)
                   for size, starts, _ in self.profiles.values() for s in starts)

    def fragments(self, busy):
        return sum(size for size, starts, _ in self.profiles.values() if size <= self.free(busy)
                   for s in starts if busy & window(size, s))


# Policy -> what is least for the best GPU, before its number; and for its slots, before theirs.
COST = {
    "first-fit": lambda g, b, a, s: ((), ()),
    "round-robin": lambda g, b, a, s: ((g.turn,), ()),
    "lowest-slot": lambda g, b, a, s: ((s,), ()),
    "best-fit": lambda g, b, a, s: ((g.free(b),), (-g.placements_left(a),)),
    "worst-fit": lambda g, b, a, s: ((-g.free(b),), (-g.placements_left(a),)),
    "max-cc": lambda g, b, a, s: ((-g.placements_left(a),), ()),
    "mfi": lambda g, b, a, s: ((g.fragments(a) - g.fragments(b),), ()),
}


class Run:
    """jobs: (arrival, profile, duration, priority), by arrival."""

    def __init__(self, fleet, jobs, policy, queue):
        self.gpus = [Gpu(0, m) for m, n in fleet for _ in range(n)]
        for i, g in enumerate(self.gpus):
            g.number = g.turn = i
        self.jobs, self.cost, self.queue = jobs, COST[policy], queue
        self.start, self.size, self.slices, self.place = {}, {}, {}, {}
        self.ends, self.waiting = [], []  # (end, job, gpu, window); (-priority, job)
        self.run()

    def find(self, want, held=(None, 0)):
        best = None
        for g in self.gpus:
            profile = g.resolve(want)
            if not profile:
                continue
            size, starts, slices = g.profiles[profile]
            for s in starts:
                if g.busy & window(size, s) or g is held[0] and held[1] & window(size, s):
                    continue
                by_gpu, by_slot = self.cost(g, g.busy, g.busy | window(size, s), s)
                cost = (*by_gpu, g.number, *by_slot, s)
                if best is None or cost < best[0]:
                    best = cost, g, size, s, slices
        return best and best[1:]

    def hold(self, now, want):
        """The window that is free first, of these the one with the fewest slots busy."""
        best = None
        for g in self.gpus:
            profile = g.resolve(want)
            size, starts, _ = g.profiles[profile] if profile else (0, (), 0)
            for s in starts:
                w = window(size, s)
                ends = [e for e, _, n, m in self.ends if n == g.number and m & w]
                found = max(ends, default=now), bin(g.busy & w).count("1"), g.number, s
                if best is None or found < best[0]:
                    best = found, g, w
        return best[0][0], (best[1], best[2])

    def try_start(self, now, job, held=(None, 0)):
        _, want, duration, _ = self.jobs[job]
        place = self.find(want, held)
        if not place:
            return False
        g, size, s, slices = place
        g.busy |= window(size, s)
        for other in self.gpus:
            other.turn = (other.number - g.number - 1) % len(self.gpus)
        self.place[job] = g.number, s
        self.start[job], self.size[job], self.slices[job] = now, size, slices
        heapq.heappush(self.ends, (now + duration, job, g.number, window(size, s)))
        return True

    def end_until(self, now):
        while self.ends and self.ends[0][0] <= now:
            _, _, number, mask = heapq.heappop(self.ends)
            self.gpus[number].busy &= ~mask

    def serve(self, now):
        self.waiting.sort()
        while self.waiting and self.try_start(now, self.waiting[0][1]):
            self.waiting.pop(0)
        if self.queue == "backfill" and self.waiting:
            hold = self.hold(now, self.jobs[self.waiting[0][1]][1])
            for entry in self.waiting[1:65]:
                if self.try_behind(now, entry[1], hold):
                    self.waiting.remove(entry)

    def try_behind(self, now, job, hold):
        """Past the head: beside what is kept for it, or there if it ends in time."""
        free_at, held = hold
        duration = self.jobs[job][2]
        is_in_time = duration and now < free_at and now + duration <= free_at
        return self.try_start(now, job, *(() if is_in_time else (held,)))

    def settle(self, now):
        """All that ends by now ends, then who waits is served; those who take no time end at once."""
        while self.ends and self.ends[0][0] <= now:
            self.end_until(now)
            self.serve(now)

    def run(self):
        times = sorted({j[0] for j in self.jobs})
        by_time = {}
        for i, j in enumerate(self.jobs):
            by_time.setdefault(j[0], []).append(i)
        while times or self.ends:
            now = min(times[:1] + [e[0] for e in self.ends[:1]])
            self.settle(now)
            if times and times[0] == now:
                times.pop(0)
                for i in by_time[now]:
                    self.arrive(now, i)

    def arrive(self, now, i):
        self.settle(now)
        if not any(g.resolve(self.jobs[i][1]) for g in self.gpus):
            return
        entry = -self.jobs[i][3], i
        if self.queue == "loss":
            self.try_start(now, i)
        elif self.queue == "fifo" or not self.waiting or entry < self.waiting[0]:
            self.waiting.append(entry)
            self.serve_new(now, entry)
        elif not self.try_behind(now, i, self.hold(now, self.jobs[self.waiting[0][1]][1])):
            self.waiting.append(entry)

    def serve_new(self, now, entry):
        """Nobody else is looked at again: nothing has come free."""
        self.waiting.sort()
        if self.waiting[0] == entry and self.try_start(now, entry[1]):
            self.waiting.pop(0)

    def outcome(self):
        first = self.jobs[0][0] if self.jobs else 0
        end = max([j[0] for j in self.jobs] +
                  [self.start[i] + self.jobs[i][2] for i in self.start], default=0)
        offered = lambda i: next((g.profiles[g.resolve(self.jobs[i][1])][0] for g in self.gpus
                                  if g.resolve(self.jobs[i][1])), 0)
        asked = sum(map(offered, range(len(self.jobs))))
        span = end - first
        area = lambda of: sum(of[i] * self.jobs[i][2] for i in self.start)
        waits = sorted(self.start[i] - self.jobs[i][0] for i in self.start)
        return {
            "requests": len(self.jobs), "accepted": len(self.start),
            "accepted_slices_ratio": sum(map(offered, self.start)) / asked if asked else 1,
            "makespan_ms": span,
            "compute_util": area(self.slices) / span / sum(g.slices for g in self.gpus)
                            if span else 0,
            "memory_util": area(self.size) / span / sum(g.slots for g in self.gpus)
                           if span else 0,
            "mean_wait_ms": sum(waits) / len(waits) if waits else 0,
            "p95_wait_ms": waits[-(-95 * len(waits) // 100) - 1] if waits else 0,
        }
