// SPDX-License-Identifier: Apache-2.0
#include "tools/gemeld/mirror_front_ends.hpp"

#include <utility>

namespace gemel {

void MirrorFrontEnds::refuse(const std::string& what) {
    for (const auto& one : exports_) one->set_refusal("mirror '" + mirror_ + "' " + what);
}

void MirrorFrontEnds::show(MountMode mode, std::function<void(Status, std::string)> done) noexcept {
    if (mode == MountMode::secondary) {
        refuse("is served by the other node; this one is its secondary");
    } else if (mode != MountMode::serving) {
        refuse("is not served by this node");
    }
    mounts_.show(mode, [this, mode, done = std::move(done)](Status status, std::string why) {
        if (status.ok() && mode == MountMode::serving) {
            for (const auto& one : exports_) one->set_refusal("");
        }
        done(status, std::move(why));
    });
}

void MirrorFrontEnds::abort() noexcept {
    refuse("is not served by this node any more");
    mounts_.abort();
}

void MirrorFrontEnds::drain(std::function<void(Status, std::string)> done) noexcept {
    refuse("is being handed over");
    mounts_.drain(std::move(done));
}

}  // namespace gemel
