// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk_faults.hpp"

#include "engine/io/sim/content.hpp"
#include "tests/sim/node_program.hpp"

#include <cerrno>
#include <iterator>

namespace gemel::sim {

namespace {

bool needs_space(VfsCall call) noexcept {
    switch (call) {
        case VfsCall::write:
        case VfsCall::copy:
        case VfsCall::make:
        case VfsCall::link:
        case VfsCall::set_xattr:
            return true;
        default:
            return false;
    }
}

bool changes_names(VfsCall call) noexcept {
    switch (call) {
        case VfsCall::make:
        case VfsCall::link:
        case VfsCall::unlink:
        case VfsCall::rename:
        case VfsCall::set_attributes:
        case VfsCall::set_xattr:
            return true;
        default:
            return false;
    }
}

bool changes_content(VfsCall call) noexcept {
    return call == VfsCall::write || call == VfsCall::truncate || call == VfsCall::allocate ||
           call == VfsCall::copy;
}

bool is_sync(VfsCall call) noexcept {
    return call == VfsCall::sync || call == VfsCall::sync_file_system;
}

}  // namespace

DiskFault::DiskFault(Node& machine, Kind kind, Prng& prng, std::string_view volume)
    : machine_(machine),
      kind_(kind),
      data_(machine.find(volume).file_system),
      state_(machine.find(ClusterNames::kState).file_system) {
    // Once, a few times or as long as it lasts; at once or after a while.
    left_ = prng.one_in(2) ? ScriptedFaults::kForEver : prng.between(1, 3);
    skip_ = prng.one_in(2) ? 0 : prng.below(60);
    if (kind == Kind::full_data) {
        fill(*data_, prng);
    } else if (kind == Kind::full_state) {
        fill(*state_, prng);
    } else if (kind == Kind::slow) {
        machine.set_disk_slowness(static_cast<std::int64_t>(prng.between(5, 500)));
    } else if (kind == Kind::stuck) {
        machine.set_disk_stuck(true);
    } else {
        machine.set_fault_policy(this);
    }
}

DiskFault::~DiskFault() { end(); }

void DiskFault::fill(FileSystem& disk, Prng& prng) noexcept {
    const FileSystemStat now = disk.stat_file_system();
    capacity_ = disk.options().capacity;
    filled_ = &disk;
    disk.set_capacity((now.blocks - now.blocks_free + prng.below(4)) * kPageSize);
}

void DiskFault::end() noexcept {
    if (ended_) return;
    ended_ = true;
    if (filled_ != nullptr) filled_->set_capacity(capacity_);
    machine_.set_disk_slowness(1);
    machine_.set_disk_stuck(false);
    if (machine_.fault_policy() == this) machine_.set_fault_policy(nullptr);
}

bool DiskFault::concerns(const VfsFaultPoint& point) const noexcept {
    if (kind_ == Kind::state_error) {
        return point.file_system == state_ &&
               (changes_names(point.call) || changes_content(point.call) || is_sync(point.call));
    }
    if (point.file_system != data_) return false;
    switch (kind_) {
        case Kind::quota:
            return needs_space(point.call);
        case Kind::read_error:
            return point.call == VfsCall::read;
        case Kind::write_error:
            return changes_content(point.call);
        case Kind::sync_error:
            return is_sync(point.call);
        case Kind::names_error:
            return changes_names(point.call);
        case Kind::read_only:
            return changes_names(point.call) || changes_content(point.call);
        default:
            return false;
    }
}

VfsFault DiskFault::before(const VfsFaultPoint& point) noexcept {
    if (left_ == 0 || !concerns(point)) return {};
    if (skip_ > 0) {
        --skip_;
        return {};
    }
    if (left_ != ScriptedFaults::kForEver) --left_;
    ++hits_;
    VfsFault fault;
    fault.error = kind_ == Kind::quota ? EDQUOT : kind_ == Kind::read_only ? EROFS : EIO;
    fault.lose_pages = is_sync(point.call);
    if (fault.lose_pages && hides_failed_syncs_) fault.error = 0;
    return fault;
}

std::string_view DiskFault::name_of(Kind kind) noexcept {
    static constexpr std::string_view kNames[] = {"full volume",
                                                  "full state directory",
                                                  "quota",
                                                  "read errors",
                                                  "write errors",
                                                  "sync errors",
                                                  "errors of names and attributes",
                                                  "errors in the state directory",
                                                  "read-only volume",
                                                  "slow disk",
                                                  "stuck disk"};
    static_assert(std::size(kNames) == kKindCount);
    return kNames[static_cast<std::size_t>(kind)];
}

std::string DiskFault::describe() const {
    return machine_.name() + ": " + std::string(name_of(kind_));
}

}  // namespace gemel::sim
