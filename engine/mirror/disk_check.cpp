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

void DiskCheck::begin() noexcept {
    if (!asked_ && !again_.is_running()) again_.start(kPause);
}

void DiskCheck::ask() noexcept {
    if (!is_needed_()) return;
    GEMEL_PROBE("disk check: a sync of everything takes long");
    asked_ = context_.loop.now();
    unanswered_ = context_.volumes.size();
    for (std::uint16_t i = 0; i < context_.volumes.size(); ++i) {
        const bool is_block = context_.volumes[i]->as_block() != nullptr;
        syncs_.sync_object(i, is_block ? kBlockObject : kRootObject, false,
                           [this, alive = alive_](Status status) {
                               if (*alive) answered(status);
                           });
    }
}

void DiskCheck::answered(Status status) noexcept {
    if (--unanswered_ == 0) {
        asked_.reset();
        again_.start(kPause);
    }
    // Whatever the reason: the kernel tells of lost pages once. Last, as its owner is told.
    if (!status.ok()) context_.disk_failed(status);
}

}  // namespace gemel
