// SPDX-License-Identifier: Apache-2.0
// How applications reach the volumes of one mirror on this node: gemeld's mounts and exports, or
// the calls of a program that embeds the engine. MirrorHost makes one by the factory that its
// program gives it, and leads the state machine's calls to it.
//
// Order: prepare(), attach(), then show() and what follows it, abort() at the latest before
// detach(). All on the loop.
#pragma once

#include "controller/application.hpp"
#include "controller/config.hpp"
#include "controller/ports.hpp"
#include "engine/mirror/replica.hpp"

#include <functional>
#include <memory>
#include <string>

namespace gemel {

class MirrorFrontEnd : public MirrorMounts {
   public:
    // Makes the volumes reachable for this process alone, before anything of them is opened. On
    // failure `why` is a sentence for people, here and below.
    virtual Status prepare(std::string& why) = 0;
    // Where the bare directory of that index is reached; after prepare().
    [[nodiscard]] virtual std::string tree_path(std::size_t directory) const = 0;
    // The engine is there; it outlives everything until detach().
    virtual Status attach(Replica& replica, std::string& why) = 0;
    // The engine goes: nothing of it is used from here on.
    virtual void detach() noexcept = 0;

    // Applications may use what is shown: after show(MountMode::serving), or again, when a
    // hand-over that had begun is called off.
    virtual void begin_use() noexcept = 0;
    // A hand-over begins (or serving has ended already): the application's stop command runs after
    // `done`, which comes once, inside the call or later.
    virtual void end_use(std::function<void()> done) noexcept = 0;
};

// Requires: the application outlives what is made. The loop and the log are the program's own.
using FrontEndFactory =
    std::function<std::unique_ptr<MirrorFrontEnd>(const MirrorConfig&, Application&)>;

}  // namespace gemel
