// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror/disk_check.hpp"

#include "engine/base/probe.hpp"

#include <utility>

namespace gemel {

namespace {

constexpr Duration kPause = Duration::seconds(1);

}  // namespace

DiskCheck::DiskCheck(ReplicaContext& context, SyncRunner& syncs, std::function<bool()> is_needed)
    : context_(context),
      syncs_(syncs),
      is_needed_(std::move(is_needed)),
      again_(context.loop, [this] { ask(); }) {}

void DiskCheck::begin(std::uint16_t volume) noexcept {
    volume_ = volume;
    if (!asked_ && !again_.is_running()) again_.start(kPause);
}

void DiskCheck::ask() noexcept {
    if (!is_needed_()) return;
    GEMEL_PROBE("disk check: a sync of everything takes long");
    asked_ = context_.loop.now();
    const bool is_block = context_.volumes[volume_]->as_block() != nullptr;
    syncs_.sync_object(volume_, is_block ? kBlockObject : kRootObject, false,
                       [this, alive = alive_](Status status) {
                           if (!*alive) return;
                           asked_.reset();
                           if (!status.ok()) {
                               context_.local_failure(status, "a sync failed on this node's disk");
                               return;
                           }
                           again_.start(kPause);
                       });
}

}  // namespace gemel
