// SPDX-License-Identifier: Apache-2.0
#include "node/mirror_host.hpp"

#include "controller/marked_resync.hpp"
#include "controller/status_json.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace gemel {

namespace {

// Devices are named by links of udev's, which nothing below here follows.
std::string resolved_device(const std::string& path) {
    std::error_code error;
    if (!std::filesystem::is_block_file(path, error)) return path;
    const std::filesystem::path target = std::filesystem::canonical(path, error);
    return error ? path : target.string();
}

// A resync has filled a part of this copy, and nobody goes on with it at the moment.
bool is_interrupted(const MirrorMachine& machine) {
    return machine.state() == MirrorState::wait && !machine.superblock().is_consistent;
}

}  // namespace

MirrorHost::MirrorHost(const World& world, const Config& config, const MirrorConfig& mirror,
                       const Place& place, const FrontEndFactory& make_front_end)
    : world_(world), config_(config), mirror_(mirror), place_(place) {
    ApplicationOptions application;
    application.mirror = mirror.name;
    application.node = place.node;
    application.start = mirror.start;
    application.stop = mirror.stop;
    application.start_timeout = mirror.start_timeout;
    application.stop_timeout = mirror.stop_timeout;
    application_ = make_application(world.loop, world.log, application);
    front_end_ = make_front_end(mirror, *application_);
    service_ = std::make_unique<NodeMirrorService>(mirror.name, mirror.virtual_ips, *front_end_,
                                                   *application_, world.virtual_ip, world.events);
}

MirrorHost::~MirrorHost() {
    verify_.reset();
    node_.reset();
    if (replica_ != nullptr) front_end_->detach();
}

Status MirrorHost::open(std::string& why) {
    GEMEL_TRY(front_end_->prepare(why));
    MirrorStorageOptions options;
    options.cluster = config_.cluster;
    options.mirror = mirror_.name;
    options.node = place_.node;
    options.state_directory = place_.state_directory;
    for (std::size_t i = 0; i < mirror_.directories.size(); ++i) {
        options.volumes.push_back({mirror_.directories[i], front_end_->tree_path(i)});
    }
    for (const BlockConfig& block : mirror_.blocks) {
        options.volumes.push_back({block.backing, resolved_device(block.backing), block.size});
    }
    for (const std::string& pattern : mirror_.exclude) {
        const std::string mistake = options.exclude.add(pattern);
        GEMEL_ASSERT(mistake.empty());  // the configuration has been checked
    }
    Result<std::unique_ptr<MirrorStorage>> storage =
        MirrorStorage::open(world_.loop, world_.log, options, why);
    if (!storage.ok()) return storage.status();
    storage_ = std::move(storage).value();
    Replica::Options replica;
    replica.sync_interval = mirror_.sync_interval;
    replica.answers_blocks_early = mirror_.sync == SyncMode::fsync;
    replica_ = std::make_unique<EngineReplica>(world_.loop, world_.log, *storage_->intents,
                                               storage_->volumes, replica);
    replica_->set_resync_range(mirror_.resync_rate);
    superblocks_ =
        std::make_unique<SuperblockWriter>(world_.loop, storage_->directory(), storage_->volumes);
    return front_end_->attach(replica_->replica(), why);
}

MirrorMachineOptions MirrorHost::machine_options(const Arbiter& arbiter) {
    MirrorMachineOptions options;
    options.mirror = mirror_.name;
    options.node = place_.node;
    options.peer = peer();
    options.is_first = connects();
    options.directories_are_empty = storage_->all_empty;
    options.boot = world_.loop.boot_id();
    options.config = encode_listing(config_listing(config_, mirror_));
    options.describe_difference = [ours = place_.node, theirs = peer()](Bytes a, Bytes b) {
        const auto left = decode_listing(a);
        const auto right = decode_listing(b);
        if (!left || !right) return std::string("the nodes describe the mirror differently");
        return describe_difference(*left, ours, *right, theirs);
    };
    options.arbiter_name = arbiter.name();
    options.arbiter_votes = config_.arbiter.kind == ArbiterKind::witness ||
                            config_.arbiter.kind == ArbiterKind::etcd;
    options.has_own_epochs = config_.arbiter.kind == ArbiterKind::ping;
    options.detect = config_.failover.detect;
    return options;
}

void MirrorHost::start(std::unique_ptr<Arbiter> arbiter,
                       const std::function<void(MirrorNode&)>& prepare) {
    GEMEL_ASSERT(replica_ != nullptr && node_ == nullptr);
    arbiter_ = std::move(arbiter);
    ProgressWatch::Options watch;
    watch.detect = config_.failover.detect;
    watch.io_timeout = config_.failover.io_timeout;
    watch.slow_peer = config_.failover.slow_peer;
    watch.slow_for = config_.failover.slow_for;
    node_ = std::make_unique<MirrorNode>(world_.loop,
                                         MirrorNode::Ports{*replica_, *arbiter_, *front_end_,
                                                           *service_, *superblocks_, world_.events},
                                         machine_options(*arbiter_), storage_->superblock, watch);
    MirrorVerify::Options verify;
    verify.mirror = mirror_.name;
    verify.node = place_.node;
    verify.peer = peer();
    verify.volumes = volume_paths();
    verify.period = mirror_.verify_period;
    verify_ = std::make_unique<MirrorVerify>(
        MirrorVerify::World{world_.loop, replica(), *storage_->intents, *node_, world_.events,
                            storage_->directory()},
        std::move(verify));
    prepare(*node_);
    if (storage_->exclude_changed) {
        world_.events.event(mirror_.name, LogLevel::warning, "exclude",
                            "the list of excluded names has been changed: everything is compared "
                            "at the next synchronisation, and what the other node kept for itself "
                            "under a name that is mirrored now gives way to the serving node's "
                            "copy");
    }
    node_->command(Command::start, [](bool, const std::string&) {});
}

void MirrorHost::tell_unwatched(const std::string& what, const std::string& why) {
    tracking_ = "not seen: " + what + ' ' + why;
    world_.events.event(mirror_.name, LogLevel::warning, "tracking",
                        "changes made without the mirror are not seen: " + what + ' ' + why);
}

void MirrorHost::watch_changes(ChangeWatch* watch, const std::string& why) {
    if (!wants_watch()) return;
    if (watch == nullptr) return tell_unwatched("the tracker can't be used:", why);
    changes_ = std::make_unique<ForeignChanges>(mirror_.name, world_.events);
    bool is_new = false;
    for (std::size_t i = 0; i < mirror_.directories.size(); ++i) {
        const std::string tree = front_end_->tree_path(i);
        std::string about;
        const Result<std::size_t> number = watch->watch(tree, about);
        if (!number.ok()) {
            if (about.empty()) about = "can't be watched: " + number.status().to_string();
            tell_unwatched(mirror_.directories[i], about);
            continue;
        }
        changes_->add({storage_->volumes[i]->as_directory(), static_cast<std::uint16_t>(i),
                       number.value(), mirror_.directories[i], tree});
        is_new = is_new || watch->source().watched_since(number.value()) == world_.loop.wall_time();
        if (tracking_.empty()) tracking_ = "seen by " + watch->source().description();
    }
    if (is_new && !storage_->superblock.histories.empty()) {
        world_.events.event(mirror_.name, LogLevel::info, "tracking",
                            "changes made without the mirror are seen from now on; those of before "
                            "are not known: 'gemel resync " +
                                mirror_.name + " --full' compares everything");
    }
    watch->add([this](const ChangeRecord& record, bool is_first, std::function<void(bool)> done) {
        note_changes(record, is_first, std::move(done));
    });
}

void MirrorHost::note_changes(const ChangeRecord& record, bool is_new,
                              std::function<void(bool)> done) {
    const bool is_ignored = mirror_.foreign_writes == ForeignWrites::warn;
    const char* consequence = "it is left alone";
    if (mirror_.foreign_writes == ForeignWrites::refuse) consequence = "this node stops";
    if (mirror_.foreign_writes == ForeignWrites::ship) {
        consequence = "the serving node's copy of it counts";
    }
    std::vector<IntentKey> keys = changes_->find(record, is_new, consequence);
    if (keys.empty() || is_ignored) return done(true);
    const bool refuses = mirror_.foreign_writes == ForeignWrites::refuse;
    resync_marked(*storage_->intents, replica(), node_.get(),
                  refuses ? Command::stop : Command::resync_changed, {std::move(keys), {}},
                  std::move(done));
}

VolumeStatus MirrorHost::volume_status(std::uint16_t index) {
    VolumeStatus status;
    const std::size_t directories = mirror_.directories.size();
    if (index < directories) {
        status.path = mirror_.directories[index];
        status.name = status.path.substr(status.path.rfind('/') + 1);
    } else {
        const BlockConfig& block = mirror_.blocks[index - directories];
        status.kind = "block";
        status.path = block.backing;
        status.name = block.name;
    }
    status.sync = sync_mode_name(mirror_.sync);
    if (const BlockVolume* block = replica().volume(index).as_block(); block != nullptr) {
        status.size_bytes = block->size();
    }
    const DirtyMap& dirty = replica().dirty_map(index);
    status.dirty_objects = dirty.object_count();
    status.dirty_bytes = dirty.content_bytes();
    const ResyncProgress& progress = replica_->resync_progress();
    if (index == 0 && progress.running) {
        // One session fills all volumes of the mirror; the figures stand with the first.
        ResyncStatus resync;
        resync.done_bytes = progress.done_bytes;
        resync.total_bytes = progress.total_bytes;
        if (!replica_->resync_pacer().is_paused()) {
            resync.rate_bytes_per_s = progress.rate_bytes_per_s;
        }
        if (resync.rate_bytes_per_s > 0 && progress.total_bytes >= progress.done_bytes) {
            resync.eta_s = (progress.total_bytes - progress.done_bytes) / resync.rate_bytes_per_s;
        }
        status.resync = resync;
    }
    return status;
}

MirrorStatus MirrorHost::status() {
    const MirrorMachine& machine = node_->machine();
    MirrorStatus status;
    status.name = mirror_.name;
    status.state = machine.state();
    status.since = node_->since();
    status.reason = machine.reason();
    status.epoch = machine.known().epoch;
    for (const RegisterMember& member : machine.known().in_sync) {
        status.in_sync.push_back(member.node);
    }
    status.peer.node = peer();
    status.peer.connected = node_->is_connected();
    if (machine.peer_hello()) status.peer.state = machine.peer_hello()->state;
    for (std::uint16_t i = 0; i < storage_->volumes.size(); ++i) {
        status.volumes.push_back(volume_status(i));
    }
    status.application.state = application_state_name(application_->state());
    status.application.since = application_->since();
    if (status.state == MirrorState::resync || is_interrupted(machine)) {
        const BeforeImage& before = replica_->before_image();
        status.before_resync = BeforeResyncStatus{before.is_kept(), before.trouble()};
    }
    status.exclude = mirror_.exclude;
    status.tracking = tracking_;
    status.resync_pace = pace_status();
    for (const VirtualAddress& address : mirror_.virtual_ips) {
        status.virtual_ip.push_back({address.to_string(), world_.virtual_ip.holds(address)});
    }
    status.verify = verify_->status();
    return status;
}

void MirrorHost::resize(const ControlCommand& command, std::function<void(ControlReply)> reply) {
    const auto block =
        std::find_if(mirror_.blocks.begin(), mirror_.blocks.end(),
                     [&](const BlockConfig& one) { return one.name == command.volume; });
    if (block == mirror_.blocks.end()) {
        reply(ControlReply::error(
            404, "mirror '" + mirror_.name + "' has no block volume '" + command.volume + "'"));
        return;
    }
    const auto index =
        static_cast<std::uint16_t>(mirror_.directories.size()) + (block - mirror_.blocks.begin());
    replica().grow(
        static_cast<std::uint16_t>(index), command.size,
        [this, name = block->name, size = command.size, reply = std::move(reply)](
            Status status, const std::string& why) {
            if (!status.ok()) {
                reply(ControlReply::error(409, "block volume '" + name + "' can't have " +
                                                   std::to_string(size) + " bytes: " + why));
                return;
            }
            world_.events.event(
                mirror_.name, LogLevel::info, "resize",
                "block volume '" + name + "' has " + std::to_string(size) + " bytes");
            reply(ControlReply::done());
        });
}

std::vector<std::string> MirrorHost::volume_paths() const {
    std::vector<std::string> paths = mirror_.directories;
    for (const BlockConfig& block : mirror_.blocks) paths.push_back(block.backing);
    return paths;
}

void MirrorHost::check(Duration peer_disk) noexcept {
    node_->check_progress(peer_disk);
    verify_->check();
}

ControlReply MirrorHost::verify(const ControlCommand& command) {
    if (command.show) return {200, to_json(verify_->status(), verify_->findings())};
    MirrorVerify::Request request;
    request.repair = command.repair;
    request.rate = command.rate.value_or(kVerifyRateDefault);
    const std::string refusal = command.stop ? verify_->stop() : verify_->start(request);
    if (!refusal.empty()) return ControlReply::error(409, refusal);
    return {200, "{\"run\":" + std::to_string(verify_->status().run) + "}"};
}

void MirrorHost::command(const ControlCommand& command, std::function<void(ControlReply)> reply) {
    Command verb{};
    switch (command.verb) {
        case ControlVerb::start:
            verb = Command::start;
            break;
        case ControlVerb::stop:
            verb = Command::stop;
            break;
        case ControlVerb::release:
            verb = Command::release;
            break;
        case ControlVerb::swap:
            verb = Command::swap;
            break;
        case ControlVerb::promote:
            verb = command.before_resync ? Command::promote_before : Command::promote_force;
            // Refused before anything is on record for it.
            if (command.before_resync && is_interrupted(node_->machine())) {
                const std::string refusal = replica_->nothing_to_restore();
                if (!refusal.empty()) return reply(ControlReply::error(409, refusal));
            }
            break;
        case ControlVerb::resync:
            if (std::optional<ControlReply> answer = resync(command)) {
                return reply(std::move(*answer));
            }
            verb = Command::resync_full;
            break;
        case ControlVerb::resize:
            return resize(command, std::move(reply));
        case ControlVerb::verify:
            return reply(verify(command));
    }
    node_->command(verb, [reply = std::move(reply)](bool done, const std::string& text) {
        reply(done ? ControlReply::done() : ControlReply::error(409, text));
    });
}

}  // namespace gemel
