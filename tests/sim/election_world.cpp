// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/election_world.hpp"

#include "tests/sim/election_models.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace gemel::sim {

namespace {

constexpr std::size_t kOpsMax = 8192;

const char* name_of(int node) { return node == 0 ? "alpha" : node == 1 ? "beta" : "arbiter"; }

}  // namespace

ElectionWorld::ElectionWorld(const ElectionOptions& o)
    : prng(o.seed), options(o), acked_(kOpsMax), excused_(kOpsMax), synced_(kOpsMax) {
    for (int node = 0; node < 2; ++node) {
        NodeDisk& d = disk(node);
        d.superblock.cluster = "shop";
        d.superblock.mirror = "db";
        d.superblock.node = name_of(node);
        d.superblock.volumes.push_back({"/data", prng.uuid(), false});
        d.content.resize(kOpsMax);
        d.durable.resize(kOpsMax);
        d.boot = prng.uuid();
        applied_[index(node)].resize(kOpsMax);
    }
    clock.after({}, [this] { connect(); });
    clock.after({}, [this] { write_sometimes(); });
}

ElectionWorld::~ElectionWorld() = default;

void ElectionWorld::trace(int node, const std::string& text) {
    if (!options.trace) return;
    std::printf("%9.3f %-7s %s\n", static_cast<double>(clock.now().ns) / 1e9, name_of(node),
                text.c_str());
}

void ElectionWorld::broke(const std::string& what) {
    if (!broken_.empty()) return;
    broken_ = "at " + std::to_string(clock.now().ns / 1'000'000) + " ms: " + what;
    trace(kArbiter, "BROKEN: " + what);
}

Duration ElectionWorld::delay() {
    // Mostly quick, now and then slow.
    const std::uint64_t us_max = prng.one_in(20) ? 300'000 : 2'000;
    return Duration::microseconds(static_cast<std::int64_t>(prng.between(50, us_max)));
}

bool ElectionWorld::has(int node, int op) const { return disks_[index(node)].content[index(op)]; }
MirrorNode& ElectionWorld::mirror(int node) { return nodes_[index(node)]->mirror; }
ModelReplica& ElectionWorld::replica(int node) { return nodes_[index(node)]->replica; }
MirrorState ElectionWorld::state(int node) const {
    return nodes_[index(node)] ? nodes_[index(node)]->mirror.machine().state()
                               : MirrorState::stopped;
}
std::string ElectionWorld::reason(int node) const {
    return nodes_[index(node)] ? nodes_[index(node)]->mirror.machine().reason() : "down";
}

bool ElectionWorld::is_paired() const {
    const MirrorState a = state(0), b = state(1);
    return (a == MirrorState::primary && b == MirrorState::secondary) ||
           (b == MirrorState::primary && a == MirrorState::secondary);
}

// --- Clients and their ops -----------------------------------------------------------------------

int ElectionWorld::new_op() {
    if (index(next_op_) >= kOpsMax) return -1;
    acked_before_.push_back(acked_epoch_);
    return next_op_++;
}

int ElectionWorld::write(int node) {
    if (!is_up(node) || !replica(node).is_serving()) return -1;
    const int op = new_op();
    if (op >= 0) replica(node).submit(op);
    return op;
}

void ElectionWorld::write_sometimes() {
    clock.after(Duration::milliseconds(static_cast<std::int64_t>(prng.between(5, 40))),
                [this] { write_sometimes(); });
    if (!automatic_writes_) return;
    const int node = static_cast<int>(prng.below(2));
    if (is_up(node) && nodes_[index(node)]->loop.life()->paused_until <= clock.now()) write(node);
    if (prng.one_in(40)) sync(static_cast<int>(prng.below(2)));
}

void ElectionWorld::sync(int node) {
    disk(node).durable = disk(node).content;
    if (register_.is_empty()) return;
    for (int op = 0; op < next_op_; ++op) {
        bool everywhere = true;
        for (int n = 0; n < 2; ++n) {
            // A sync of whoever takes the peer in waits for the peer already.
            const bool joins = is_up(1 - n) && replica(1 - n).role() == ReplicaRole::attaching;
            if ((is_member(n) || joins) && !disk(n).durable[index(op)]) everywhere = false;
        }
        if (everywhere) synced_[index(op)] = true;
    }
}

void ElectionWorld::sync_all() {
    for (int node = 0; node < 2; ++node) sync(node);
}

void ElectionWorld::acknowledged(int node, int op, bool alone) {
    const std::string what = "op " + std::to_string(op) + " acknowledged by " + name_of(node);
    if (!has(node, op)) broke(what + ", which does not hold it");
    if (alone) {
        const Incarnation& own = mirror(node).machine().superblock().incarnation;
        if (!register_.is_only(name_of(node)) || !register_.has(name_of(node), own)) {
            broke("E1: " + what + " alone, recorded is: " + describe(register_));
        }
    } else if (!applied_[index(1 - node)][index(op)]) {
        broke("E2: " + what + ", its peer never applied it");
    }
    const std::uint64_t epoch = serving_epoch_[index(node)];
    if (!was_forced_ && epoch < acked_before_[index(op)]) {
        broke("E6: " + what + " in epoch " + std::to_string(epoch) + ", begun after epoch " +
              std::to_string(acked_before_[index(op)]) + " had acknowledged");
    }
    acked_epoch_ = std::max(acked_epoch_, epoch);
    acked_[index(op)] = true;
}

void ElectionWorld::begins_to_serve(int node, std::uint64_t epoch) {
    trace(node, "serves from epoch " + std::to_string(epoch));
    if (std::find(epochs_begun_.begin(), epochs_begun_.end(), epoch) != epochs_begun_.end()) {
        broke("E4: epoch " + std::to_string(epoch) + " begins again");
    }
    epochs_begun_.push_back(epoch);
    serving_epoch_[index(node)] = epoch;
    for (int op = 0; op < next_op_; ++op) {
        if (was_forced_ && !has(node, op)) excused_[index(op)] = true;
        if (acked_[index(op)] && !excused_[index(op)] && !has(node, op)) {
            broke("E3: " + std::string(name_of(node)) + " serves without op " + std::to_string(op));
        }
    }
}

// --- Network -------------------------------------------------------------------------------------

void ElectionWorld::heartbeat(int from) {
    if (is_cut(from, 1 - from) || prng.one_in(20)) return;
    clock.after(delay(), [this, to = 1 - from, age = disk_age(from)] {
        if (!is_up(to)) return;
        ElectionNode& node = *nodes_[index(to)];
        node.loop.schedule({}, [&node, age] {
            node.peer_disk = age;
            const auto change = node.monitor.heard(0, node.loop.now());
            if (change == HeartbeatMonitor::Change::alive) node.mirror.on_peer_alive();
        });
    });
}

void ElectionWorld::connect() {
    clock.after(Duration::milliseconds(100), [this] { connect(); });
    if (!is_up(0) || !is_up(1) || is_cut(0, 1) || is_cut(1, 0) || prng.one_in(3)) return;
    const ElectionNode& dialer = *nodes_[0];
    if (dialer.session && dialer.session->end(0).is_open) return;
    open_session();
}

void ElectionWorld::open_session() {
    auto session = std::make_shared<ModelSession>(*this);
    for (int node = 0; node < 2; ++node) {
        ElectionNode& n = *nodes_[index(node)];
        session->end(node).loop = &n.loop;
        session->end(node).life = n.loop.life();
        n.session = session;
        n.loop.schedule(delay(), [session, &n] {
            if (!session->end(n.node).is_open) return;
            n.mirror.on_session(std::make_unique<ModelLink>(session, n.node));
        });
    }
}

void ElectionWorld::ask_arbiter(int node, ElectionLoop& loop,
                                std::function<void(RegisterValue&)> at_arbiter,
                                std::function<void(bool answered)> done, bool is_swap) {
    auto once = std::make_shared<std::function<void(bool)>>(std::move(done));
    const auto answer = [once](bool answered) {
        if (!*once) return;
        const auto call = std::exchange(*once, nullptr);
        call(answered);
    };
    loop.schedule(Duration::seconds(1), [answer] { answer(false); });
    if (is_swap && prng.one_in(8)) {
        // The same request once more, perhaps long after its sender is gone.
        clock.after(Duration::milliseconds(static_cast<std::int64_t>(prng.between(1, 20'000))),
                    [this, at_arbiter] {
                        if (!arbiter_is_down) at_arbiter(register_);
                    });
    }
    if (is_cut(node, kArbiter) || prng.one_in(25)) return;
    clock.after(delay(), [this, node, &loop, life = loop.life(), at_arbiter, answer, is_swap] {
        if (arbiter_is_down) return;
        at_arbiter(register_);
        if (is_swap && lose_swap_answers_[index(node)]) return;
        if (is_cut(kArbiter, node) || prng.one_in(25)) return;
        clock.after(delay(), [&loop, life, answer] {
            if (!life->is_over) loop.schedule({}, [answer] { answer(true); });
        });
    });
}

// --- Faults --------------------------------------------------------------------------------------

void ElectionWorld::boot(int node) {
    if (is_up(node)) return;
    trace(node, "boots");
    nodes_[index(node)] = std::make_unique<ElectionNode>(*this, node);
    command(node, Command::start);
}

void ElectionWorld::kill(int node) {
    if (!is_up(node)) return;
    trace(node, "process killed");
    nodes_[index(node)]->die(false);
    graveyard_.push_back(std::move(nodes_[index(node)]));
}

bool ElectionWorld::is_member(int node) const { return register_.find(name_of(node)) != nullptr; }

void ElectionWorld::record(const RegisterValue& value) {
    const RegisterValue before = std::exchange(register_, value);
    register_before_ = before;
    for (int node = 0; node < 2; ++node) {
        const RegisterMember* member = register_.find(name_of(node));
        const RegisterMember* earlier = before.find(name_of(node));
        if (member == nullptr) continue;
        const bool stays = earlier != nullptr && earlier->incarnation == member->incarnation;
        if (!stays) recorded_boots_[index(node)] = disks_[index(node)].boot;
    }
    // What follows at once upon a change is what the holes are made of.
    if (!faults_follow_changes_ || !is_faulty_ || !prng.one_in(3)) return;
    clock.after(Duration::milliseconds(static_cast<std::int64_t>(prng.below(1500))),
                [this] { inject(); });
}

bool ElectionWorld::memory_is_gone(int node) const {
    const RegisterMember* member = register_.find(name_of(node));
    if (member == nullptr || recorded_boots_[index(node)] != disks_[index(node)].boot) return true;
    const Superblock& superblock = is_up(node) ? nodes_[index(node)]->mirror.machine().superblock()
                                               : disks_[index(node)].superblock;
    return superblock.incarnation != member->incarnation;
}

void ElectionWorld::power_cut(int node) {
    trace(node, "power cut");
    const bool peer_is_gone = memory_is_gone(1 - node);
    if (is_up(node)) {
        nodes_[index(node)]->die(true);
        graveyard_.push_back(std::move(nodes_[index(node)]));
    }
    lose_unsynced(node, peer_is_gone);
    NodeDisk& d = disk(node);
    d.durable = d.content;
    d.boot = prng.uuid();
    has_lost_pages_[index(node)] = false;
}

void ElectionWorld::lose_unsynced(int node, bool peer_is_gone) {
    NodeDisk& d = disk(node);
    const OpSet& other = disk(1 - node).content;
    for (int i = 0; i < next_op_; ++i) {
        const std::size_t op = index(i);
        if (d.content[op] != d.durable[op] && prng.one_in(2)) d.content[op] = d.durable[op];
        if (synced_[op] || !is_member(node)) continue;
        const bool both_are_gone = is_member(1 - node) && peer_is_gone;
        if (!is_member(1 - node) || both_are_gone) {
            if (!d.content[op] || (both_are_gone && !other[op])) excused_[op] = true;
        }
    }
}

void ElectionWorld::pause(int node, Duration time) {
    if (!is_up(node)) return;
    trace(node, "paused for " + std::to_string(time.ns / 1'000'000) + " ms");
    // A shorter pause does not end a longer one, or what waits would be overtaken.
    Instant& until = nodes_[index(node)]->loop.life()->paused_until;
    until = std::max(until, clock.now() + time);
}

void ElectionWorld::fail_copy(int node) {
    if (!is_up(node)) return;
    trace(node, "its copy fails");
    ElectionNode& n = *nodes_[index(node)];
    n.loop.schedule({}, [&n, this] {
        has_lost_pages_[index(n.node)] = !n.replica.is_idle();
        n.replica.fail();
    });
}

void ElectionWorld::failure_stored(int node) {
    if (!std::exchange(has_lost_pages_[index(node)], false)) return;
    trace(node, "what its disk has lost shows");
    lose_unsynced(node, memory_is_gone(1 - node));
}

void ElectionWorld::command(int node, Command command) {
    if (!is_up(node)) return;
    if (command == Command::promote_force) was_forced_ = true;
    ElectionNode& n = *nodes_[index(node)];
    n.loop.schedule({}, [&n, command, this] {
        n.mirror.command(command, [this, &n](bool done, const std::string& text) {
            trace(n.node, "command " + std::string(done ? "done" : "refused: ") + text);
        });
    });
}

void ElectionWorld::hang_disk(int node, bool hangs) {
    trace(node, hangs ? "the disk hangs" : "the disk goes on");
    hangs_since_[index(node)] = hangs ? std::optional(clock.now()) : std::nullopt;
}

Duration ElectionWorld::disk_age(int node) const {
    const std::optional<Instant>& since = hangs_since_[index(node)];
    return since ? clock.now() - *since : Duration();
}

void ElectionWorld::heal() {
    cuts_ = {};
    hangs_since_ = {};
    arbiter_is_down = false;
    superblock_delay = {};
    lose_swap_answers_ = {};
    for (int node = 0; node < 2; ++node) {
        boot(node);
    }
}

void ElectionWorld::inject() {
    const int node = static_cast<int>(prng.below(2));
    const auto random_time = [this](std::uint64_t low, std::uint64_t high) {
        return Duration::milliseconds(static_cast<std::int64_t>(prng.between(low, high)));
    };
    switch (static_cast<Fault>(prng.below(kFaultCount))) {
        case Fault::power_cut:
            power_cut(node);
            clock.after(random_time(50, 8'000), [this, node] { boot(node); });
            break;
        case Fault::kill:
            kill(node);
            clock.after(random_time(5, 4'000), [this, node] { boot(node); });
            break;
        case Fault::pause:
            pause(node, random_time(100, 15'000));
            break;
        case Fault::cut_link: {
            const int from = static_cast<int>(prng.below(3));
            const int to = (from + static_cast<int>(prng.between(1, 2))) % 3;
            const bool both_ways = prng.one_in(2);
            trace(from, std::string("cut to ") + name_of(to) + (both_ways ? ", both ways" : ""));
            cut(from, to, true);
            if (both_ways) cut(to, from, true);
            clock.after(random_time(100, 10'000), [this, from, to] {
                cut(from, to, false);
                cut(to, from, false);
            });
            break;
        }
        case Fault::arbiter_down:
            trace(kArbiter, "down");
            arbiter_is_down = true;
            if (options.mutant == Mutant::witness_forgets) register_ = register_before_;
            clock.after(random_time(100, 10'000), [this] { arbiter_is_down = false; });
            break;
        case Fault::copy_fails:
            fail_copy(node);
            // Whoever has failed is restarted, by itself or by a person.
            if (prng.one_in(2)) break;
            clock.after(random_time(0, 2'000), [this, node] {
                kill(node);
                boot(node);
            });
            break;
        case Fault::slow_disk:
            superblock_delay[index(node)] = random_time(10, 3'000);
            clock.after(random_time(1'000, 8'000),
                        [this, node] { superblock_delay[index(node)] = {}; });
            break;
        case Fault::hanging_disk:
            hang_disk(node, true);
            clock.after(random_time(500, 9'000), [this, node] { hang_disk(node, false); });
            break;
        case Fault::command: {
            constexpr Command kCommands[] = {Command::stop, Command::swap, Command::swap,
                                             Command::resync_full};
            const Command chosen = kCommands[prng.below(4)];
            trace(node, "command " + std::to_string(static_cast<int>(chosen)));
            command(node, chosen);
            clock.after(random_time(500, 5'000), [this, node] { command(node, Command::start); });
            break;
        }
    }
}

// --- Runs ----------------------------------------------------------------------------------------

void ElectionWorld::run_for(Duration time) {
    const Instant end = clock.now() + time;
    while (broken_.empty() && clock.run_one(end)) {
    }
}

bool ElectionWorld::run_until(const std::function<bool()>& condition, Duration limit) {
    const Instant end = clock.now() + limit;
    while (broken_.empty() && !condition()) {
        if (!clock.run_one(end)) return condition();
    }
    return broken_.empty();
}

std::string ElectionWorld::run() {
    boot(0);
    boot(1);
    const std::uint64_t faults = prng.between(1, options.faults_max);
    for (std::uint64_t i = 0; i < faults; ++i) {
        const auto when = prng.below(static_cast<std::uint64_t>(options.faulty_time.ns));
        clock.after(Duration{static_cast<std::int64_t>(when)}, [this] { inject(); });
    }
    is_faulty_ = true;
    faults_follow_changes_ = prng.one_in(2);
    run_for(options.faulty_time);
    is_faulty_ = false;
    return finish();
}

std::string ElectionWorld::finish() {
    if (!broken_.empty()) return broken_;
    // Late ends of faults are over after their longest time; then everything is put right.
    heal();
    run_for(Duration::seconds(21));
    heal();
    for (int node = 0; node < 2; ++node) command(node, Command::start);
    trace(kArbiter, "healed");
    automatic_writes_ = false;
    const auto healed = [this] { return is_paired() && disks_[0].content == disks_[1].content; };
    if (!run_until(healed, Duration::seconds(90)) && broken_.empty()) {
        // Two faults may leave what only a person can decide.
        const auto asks = [this] {
            return reason(0).find("'gemel promote") != std::string::npos ||
                   reason(1).find("'gemel promote") != std::string::npos;
        };
        if (run_until(asks, Duration::seconds(5))) {
            command(register_.serving == name_of(0) ? 0 : 1, Command::promote_force);
        }
    }
    if (!run_until(healed, Duration::seconds(90)) && broken_.empty()) {
        broke("does not heal: alpha is in " + std::string(mirror_state_name(state(0))) + " (" +
              reason(0) + "), beta in " + std::string(mirror_state_name(state(1))) + " (" +
              reason(1) + "), recorded is " + describe(register_));
    }
    for (int op = 0; op < next_op_ && broken_.empty(); ++op) {
        if (acked_[index(op)] && !excused_[index(op)] && !has(0, op)) {
            broke("op " + std::to_string(op) + " was acknowledged and is gone");
        }
    }
    return broken_;
}

}  // namespace gemel::sim
