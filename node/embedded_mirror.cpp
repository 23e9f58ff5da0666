// SPDX-License-Identifier: Apache-2.0
#include "node/embedded_mirror.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace gemel {

namespace {

using libgemel::Error;
using libgemel::EventKind;

libgemel::State state_of(MirrorState state) noexcept {
    switch (state) {
        case MirrorState::stopped:
            return libgemel::State::stopped;
        case MirrorState::wait:
            return libgemel::State::wait;
        case MirrorState::alone:
            return libgemel::State::alone;
        case MirrorState::primary:
            return libgemel::State::primary;
        case MirrorState::secondary:
            return libgemel::State::secondary;
        case MirrorState::resync:
            return libgemel::State::resync;
    }
    return libgemel::State::stopped;
}

// None: it is no command.
std::optional<Command> command_of(libgemel::Command command) noexcept {
    switch (command) {
        case libgemel::Command::start:
            return Command::start;
        case libgemel::Command::stop:
            return Command::stop;
        case libgemel::Command::swap:
            return Command::swap;
        case libgemel::Command::promote_force:
            return Command::promote_force;
        case libgemel::Command::resync_full:
            return Command::resync_full;
    }
    return std::nullopt;
}

libgemel::MirrorStatus status_of(const MirrorStatus& from) {
    libgemel::MirrorStatus to;
    to.state = state_of(from.state);
    to.reason = from.reason;
    to.epoch = from.epoch;
    to.in_sync = from.in_sync;
    to.peer = from.peer.node;
    to.peer_connected = from.peer.connected;
    for (const VolumeStatus& volume : from.volumes) {
        to.dirty_bytes += volume.dirty_bytes;
        if (!volume.resync) continue;
        to.resync_running = true;
        to.resync_done_bytes = volume.resync->done_bytes;
        to.resync_total_bytes = volume.resync->total_bytes;
    }
    return to;
}

}  // namespace

// --- Volume --------------------------------------------------------------------------------------

void EmbeddedVolume::learn(std::uint64_t size, const ExportLimits& limits) noexcept {
    size_.store(size);
    block_size_ = limits.preferred_block;
    request_max_ = limits.maximum_payload;
}

libgemel::Mirror& EmbeddedVolume::mirror() noexcept { return mirror_; }

EmbeddedRequest EmbeddedVolume::request(ExportRequestKind kind, libgemel::Completion done) const {
    EmbeddedRequest request;
    request.kind = kind;
    request.volume = index_;
    request.done = std::move(done);
    return request;
}

void EmbeddedVolume::read(std::uint64_t offset, std::span<std::byte> data,
                          libgemel::Completion done) {
    EmbeddedRequest read = request(ExportRequestKind::read, std::move(done));
    read.offset = offset;
    read.size = data.size();
    read.target = data;
    mirror_.begin(std::move(read));
}

void EmbeddedVolume::write(std::uint64_t offset, std::span<const std::byte> data,
                           libgemel::Completion done, libgemel::Durability durability) {
    EmbeddedRequest write = request(ExportRequestKind::write, std::move(done));
    write.offset = offset;
    write.size = data.size();
    write.data = data;
    write.durability = durability;
    mirror_.begin(std::move(write));
}

void EmbeddedVolume::zero(std::uint64_t offset, std::uint64_t size, libgemel::Completion done,
                          libgemel::Durability durability) {
    EmbeddedRequest zero = request(ExportRequestKind::zero, std::move(done));
    zero.offset = offset;
    zero.size = size;
    zero.durability = durability;
    mirror_.begin(std::move(zero));
}

void EmbeddedVolume::trim(std::uint64_t offset, std::uint64_t size, libgemel::Completion done) {
    EmbeddedRequest trim = request(ExportRequestKind::trim, std::move(done));
    trim.offset = offset;
    trim.size = size;
    mirror_.begin(std::move(trim));
}

void EmbeddedVolume::flush(libgemel::Completion done) {
    mirror_.begin(request(ExportRequestKind::flush, std::move(done)));
}

// --- Mirror --------------------------------------------------------------------------------------

EmbeddedMirror::EmbeddedMirror(EmbeddedContext& context, const MirrorConfig& config)
    : context_(context), config_(config) {
    for (std::size_t i = 0; i < config.blocks.size(); ++i) {
        volumes_.push_back(std::make_unique<EmbeddedVolume>(*this, i, config.blocks[i].name));
    }
}

EmbeddedMirror::~EmbeddedMirror() = default;

std::unique_ptr<MirrorFrontEnd> EmbeddedMirror::make_front_end(Loop& loop, Duration end_limit) {
    auto front_end = std::make_unique<EmbeddedFrontEnd>(loop, config_, end_limit,
                                                        static_cast<EmbeddedUser&>(*this));
    front_end_ = front_end.get();
    return front_end;
}

void EmbeddedMirror::open(MirrorHost& host) {
    host_ = &host;
    for (std::size_t i = 0; i < volumes_.size(); ++i) {
        volumes_[i]->learn(front_end_->size(i), front_end_->limits(i));
    }
}

void EmbeddedMirror::close() noexcept {
    host_ = nullptr;
    front_end_ = nullptr;
}

libgemel::Volume* EmbeddedMirror::find_volume(std::string_view name) noexcept {
    const auto found = std::find_if(volumes_.begin(), volumes_.end(),
                                    [&](const auto& volume) { return volume->name() == name; });
    return found == volumes_.end() ? nullptr : found->get();
}

std::size_t EmbeddedMirror::running() const noexcept {
    return front_end_ == nullptr ? 0 : front_end_->running();
}

void EmbeddedMirror::begin(EmbeddedRequest request) {
    context_.run_on_loop([this, request = std::move(request)]() mutable {
        if (front_end_ == nullptr) {
            request.done(Error::not_serving);
        } else {
            front_end_->begin(std::move(request));
        }
    });
}

libgemel::MirrorStatus EmbeddedMirror::status() const {
    const std::lock_guard lock(mutex_);
    libgemel::MirrorStatus status = status_;
    status.serves = serves_.load();
    return status;
}

void EmbeddedMirror::refresh(const MirrorStatus& status) {
    libgemel::MirrorStatus now = status_of(status);
    bool is_new = false;
    {
        const std::lock_guard lock(mutex_);
        is_new = now.state != status_.state;
        status_ = now;
    }
    if (is_new) emit(EventKind::state, {}, now.reason);
}

void EmbeddedMirror::command(libgemel::Command command, libgemel::CommandDone done) {
    context_.run_on_loop([this, command, done = std::move(done)] {
        if (host_ == nullptr) return done(Error::refused, "the node is being closed");
        const std::optional<Command> known = command_of(command);
        if (!known) return done(Error::refused, "there is no such command");
        host_->node().command(*known, [done](bool is_done, const std::string& text) {
            done(is_done ? Error::none : Error::refused, text);
        });
    });
}

void EmbeddedMirror::end_use() {
    context_.run_on_loop([this] {
        if (front_end_ != nullptr) front_end_->end_use_now();
    });
}

void EmbeddedMirror::notice(const std::string& word, const std::string& text) {
    emit(EventKind::notice, word, text);
}

void EmbeddedMirror::emit(EventKind kind, std::string_view word, std::string_view text) noexcept {
    context_.emit({kind, *this, status().state, word, text});
}

// These come in the middle of a step of the machine's, whose state is new only after it: events
// that tell of it follow from a task of their own.
void EmbeddedMirror::on_begin_use() noexcept {
    serves_.store(true);
    context_.run_on_loop([this] { emit(EventKind::serving, {}, {}); });
}

void EmbeddedMirror::on_end_use() noexcept {
    serves_.store(false);
    context_.run_on_loop([this] { emit(EventKind::stopped_serving, {}, {}); });
}

void EmbeddedMirror::on_ending() noexcept {
    context_.run_on_loop([this] { emit(EventKind::ending, {}, {}); });
}

void EmbeddedMirror::on_size_changed(std::size_t volume) noexcept {
    volumes_[volume]->set_size(front_end_->size(volume));
    context_.run_on_loop([this, volume] { emit(EventKind::size, {}, volumes_[volume]->name()); });
}

}  // namespace gemel
