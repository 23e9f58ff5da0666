// SPDX-License-Identifier: Apache-2.0
/// @file
/// A mirror: what is replicated and fails over as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <gemel/volume.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace libgemel {

/// What a mirror is on this node.
enum class State : int {
    stopped = 0,    ///< Not taking part.
    wait = 1,       ///< Wants to run but may not: not known to be current, or no vote can be had.
    alone = 2,      ///< Serves; the peer does not hold the newest data; what it misses is recorded.
    primary = 3,    ///< Serves; every acknowledged change is on the peer too.
    secondary = 4,  ///< Receives every change; ready to take over.
    resync = 5,     ///< Is being brought up to date; may not take over.
};

/// The word that every text and log uses: "alone".
/// @param state  any value; an unknown one gives "unknown".
/// @return a constant of the library's. Any thread.
LIBGEMEL_API const char* state_name(State state) noexcept;

/// A mirror as it was when last looked at.
struct MirrorStatus {
    State state = State::stopped;          ///< On this node.
    bool serves = false;                   ///< Requests are accepted.
    std::string reason;                    ///< Why it is in `state`, a sentence; may be empty.
    std::uint64_t epoch = 0;               ///< Counts the changes of the in-sync set.
    std::vector<std::string> in_sync;      ///< Nodes that hold every acknowledged change.
    std::string peer;                      ///< The other node's name.
    bool peer_connected = false;           ///< There is a session with it.
    std::uint64_t dirty_bytes = 0;         ///< What the peer lacks, as far as this node knows.
    bool resync_running = false;           ///< A resync is under way, in either direction.
    std::uint64_t resync_done_bytes = 0;   ///< Of it.
    std::uint64_t resync_total_bytes = 0;  ///< May grow while changes go on.
};

/// What a person may ask of a mirror; `gemel` has the same.
enum class Command : int {
    start = 0,          ///< Joins the mirror on this node.
    stop = 1,           ///< Leaves it; a peer in sync takes over.
    swap = 2,           ///< Exchanges the two nodes' roles, with nothing lost.
    promote_force = 3,  ///< Goes on alone when no vote can be had: may lose what only the peer has.
    resync_full = 4,    ///< Compares everything, and accepts to be overwritten where it has to be.
};

/// How a command ended: Error::none, or Error::refused with a sentence that says why. Exactly once,
/// on the loop's thread, never inside the call.
using CommandDone = std::function<void(Error, const std::string& why)>;

/// A mirror of this node. The node owns it and keeps it until its own end. Any thread may call
/// anything here.
class Mirror {
   public:
    virtual ~Mirror() = default;
    Mirror() = default;
    Mirror(const Mirror&) = delete;             ///< Not copied.
    Mirror& operator=(const Mirror&) = delete;  ///< Not copied.

    /// What it is called.
    /// @return as configured; valid as long as the mirror.
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
    /// How many volumes it has; constant.
    /// @return at least 1.
    [[nodiscard]] virtual std::size_t volume_count() const noexcept = 0;
    /// A volume by index, in the order of the configuration.
    /// @param index  below volume_count().
    /// @return the node's.
    [[nodiscard]] virtual Volume& volume(std::size_t index) noexcept = 0;
    /// A volume by name.
    /// @param name  as configured.
    /// @return null when there is none of that name.
    [[nodiscard]] virtual Volume* find_volume(std::string_view name) noexcept = 0;

    /// Whether requests are accepted at this moment. It may have changed when the answer is used;
    /// a request that comes too late ends with Error::not_serving.
    /// @return true: they are.
    [[nodiscard]] virtual bool serves() const noexcept = 0;
    /// As of the last change of state; figures are at most one heartbeat old. Does not wait.
    /// @return a copy.
    [[nodiscard]] virtual MirrorStatus status() const = 0;

    /// Asks for a command.
    /// @param command  what to do.
    /// @param done  how it ended; swap and stop end when the roles have changed.
    virtual void command(Command command, CommandDone done) = 0;
    /// This program has finished what it did with the volumes: a hand-over that waits since
    /// EventKind::ending (NodeOptions::end_limit) goes on. Without one nothing happens.
    virtual void end_use() = 0;
};

}  // namespace libgemel
