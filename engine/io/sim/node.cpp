// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/node.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/sim/fabric.hpp"
#include "engine/io/sim/loop.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utility>

namespace gemel::sim {

Duration Latency::sample(Prng& prng) const noexcept {
    GEMEL_ASSERT(min.ns >= 0 && min <= max);
    const auto range = static_cast<std::uint64_t>((max - min).ns) + 1;
    // Three of four in the lowest eighth, a few far out.
    const std::uint64_t kind = prng.below(64);
    const std::uint64_t part = kind == 0 ? range * 8 : kind < 16 ? range : range / 8 + 1;
    return min + Duration{static_cast<std::int64_t>(prng.below(part))};
}

void Node::Log::log(LogLevel level, std::string_view text) noexcept {
    static constexpr std::string_view kNames[] = {"debug: ", "", "warning: ", "error: "};
    std::string line(kNames[static_cast<std::size_t>(level)]);
    line += text;
    node_.world_.note(node_.machine(), EventKind::log, line);
}

Node::Node(World& world, std::uint16_t index, const NodeOptions& options)
    : world_(world), index_(index), options_(options), prng_(world.prng().fork()) {
    if (options_.name.empty()) options_.name = "node" + std::to_string(index);
    clock_.set_wall_offset(options.wall_offset);
    clock_.set_drift(world.now(), options.clock_drift_ppm);
    mounts_.push_back({"", std::make_unique<FileSystem>(options.disk, prng_.fork())});
    for (const NodeOptions::Address& address : options.addresses) {
        add_address(address.ip, address.network);
    }
    power_on();
}

Node::~Node() { GEMEL_ASSERT(!has_process()); }

// --- Process -----------------------------------------------------------------------------------

bool Node::has_process() const noexcept { return loop_ != nullptr && loop_->is_alive(); }

bool Node::is_process(std::uint32_t serial) const noexcept {
    return has_process() && loop_->serial() == serial;
}

void Node::make_loop() {
    GEMEL_ASSERT(loop_ == nullptr);
    power_on();
    loop_ = std::make_unique<SimLoop>(*this, world_.next_process_serial());
    world_.note(machine(), EventKind::fault, "process starts");
}

void Node::start(const ProgramFactory& factory) {
    make_loop();
    bare_ = false;
    loop_->turn([&] { program_ = factory(*loop_); });
}

SimLoop& Node::start() {
    make_loop();
    bare_ = true;
    return *loop_;
}

void Node::kill_process() noexcept { end_process(false); }

void Node::power_cut() noexcept {
    if (!on_) return;
    on_ = false;
    world_.note(machine(), EventKind::fault, "power cut");
    end_process(true);
}

void Node::end_process(bool power) noexcept {
    power_goes_ = power_goes_ || power;
    // Before the process's end, so that its sockets are lost silently.
    if (power) world_.fabric().power_lost(*this);
    if (has_process()) {
        if (!power) world_.note(machine(), EventKind::fault, "process killed");
        loop_->mark_dead();
    }
    paused_ = false;
    if (loop_ == nullptr || !loop_->in_turn()) reap();
}

void Node::reap() noexcept {
    world_.release_deferred(deferred_);  // to be dropped when their turn comes
    // Locals are destroyed in reverse order: the program first, while its loop still exists.
    std::unique_ptr<SimLoop> loop = std::move(loop_);
    if (loop != nullptr) {
        world_.after(Duration{0}, [this] {
            if (on_end_) on_end_();
        });
    }
    const std::unique_ptr<Program> program = std::move(program_);
    if (loop != nullptr) loop->drop_posted();
    if (std::exchange(power_goes_, false)) {
        for (const Mount& mount : mounts_) mount.disk->power_cut();
    }
    if (loop != nullptr && bare_) dead_bare_loops_.push_back(std::move(loop));
}

void Node::die_at_vfs_call(std::uint64_t n, bool power) noexcept {
    if (has_process()) loop_->vfs().die_at_call(n, power);
}

void Node::die_at_callback(std::uint64_t n, bool power) noexcept {
    if (has_process()) loop_->die_at_callback(n, power);
}

void Node::pause() noexcept {
    if (!has_process() || paused_) return;
    paused_ = true;
    world_.note(machine(), EventKind::fault, "paused");
}

void Node::resume() noexcept {
    if (!paused_) return;
    paused_ = false;
    world_.note(machine(), EventKind::fault, "resumed");
    world_.release_deferred(deferred_);
    world_.fabric().process_resumed(*this);
}

// --- Machine -----------------------------------------------------------------------------------

void Node::power_on() noexcept {
    if (on_) return;
    GEMEL_ASSERT(loop_ == nullptr);  // a process that has just lost its power is still on the stack
    on_ = true;
    boot_id_ = prng_.uuid();
    clock_.restart(world_.now(), {static_cast<std::int64_t>(prng_.between(1, 100'000'000'000))});
    world_.note(machine(), EventKind::fault, "power on");
    world_.fabric().power_returned(*this);
}

void Node::set_drift(std::int64_t ppm) noexcept {
    clock_.set_drift(world_.now(), ppm);
    if (has_process()) loop_->rearm_timers();
}

// --- Disks -------------------------------------------------------------------------------------

FileSystem& Node::mount(std::string_view path, const FileSystemOptions& options) {
    GEMEL_ASSERT(path.size() > 1 && path.front() == '/' && path.back() != '/');
    FileSystemOptions own = options;
    own.device += mounts_.size();
    mounts_.push_back({std::string(path), std::make_unique<FileSystem>(own, prng_.fork())});
    return *mounts_.back().disk;
}

Node::Place Node::find(std::string_view absolute_path) noexcept {
    Place best;
    std::size_t best_size = 0;
    for (const Mount& mount : mounts_) {
        const std::size_t size = mount.path.size();
        if (!absolute_path.starts_with(mount.path)) continue;
        if (absolute_path.size() > size && absolute_path[size] != '/') continue;
        if (best.file_system != nullptr && size < best_size) continue;
        best = {mount.disk.get(), absolute_path.substr(size)};
        best_size = size;
    }
    return best;
}

void Node::make_directories(std::string_view absolute_path) noexcept {
    const Place place = find(absolute_path);
    place.file_system->make_directories(place.path, wall_now());
}

Inode& Node::directory_at(std::string_view absolute_path) noexcept {
    const Place place = find(absolute_path);
    Inode* at = &place.file_system->root();
    for (std::string_view rest = place.path; !rest.empty();) {
        const std::string_view part = rest.substr(0, rest.find('/'));
        rest.remove_prefix(std::min(rest.size(), part.size() + 1));
        if (!part.empty()) at = place.file_system->lookup(*at, part).value();
    }
    return *at;
}

Inode& Node::attach_device(const DeviceOptions& options) noexcept {
    constexpr unsigned kMajor = 259;
    const unsigned number = ++devices_;
    const std::string facts =
        "/sys/dev/block/" + std::to_string(kMajor) + ":" + std::to_string(number);
    make_directories(options.directory);
    make_directories(facts + "/queue");
    FileSystem& sys = *find(facts).file_system;
    const auto say = [&](const std::string& where, std::string_view name, const std::string& text) {
        const auto file = sys.make(directory_at(where), name, {S_IFREG | 0444, 0, {}}, wall_now());
        GEMEL_ASSERT(file.ok() && sys.write(*file.value(), as_bytes(text), 0, wall_now()).ok());
    };
    say(facts, "size", std::to_string(options.size / 512));
    say(facts, "diskseq", std::to_string(number));
    say(facts + "/queue", "logical_block_size", std::to_string(options.logical_block));
    if (!options.serial.empty()) say(facts, "serial", options.serial);
    sys.sync_all();
    return find(options.directory)
        .file_system->make_device(directory_at(options.directory), options.name,
                                  {makedev(kMajor, number), options.size, options.logical_block},
                                  wall_now());
}

void Node::detach_device(const std::string& directory, std::string_view name) noexcept {
    FileSystem& files = *find(directory).file_system;
    GEMEL_ASSERT(files.unlink(directory_at(directory), name, false, wall_now()).ok());
    files.sync_all();
}

void Node::set_disk_stuck(bool stuck) noexcept {
    if (disk_stuck_ == stuck) return;
    disk_stuck_ = stuck;
    world_.note(machine(), EventKind::fault, stuck ? "disk stuck" : "disk goes on");
    if (!stuck && has_process()) loop_->disk_unstuck();
}

// --- Addresses ---------------------------------------------------------------------------------

void Node::add_address(const SocketAddress& ip, std::uint8_t network) noexcept {
    world_.fabric().add_address(*this, ip, network);
}

void Node::remove_address(const SocketAddress& ip) noexcept {
    world_.fabric().remove_address(*this, ip);
}

}  // namespace gemel::sim
