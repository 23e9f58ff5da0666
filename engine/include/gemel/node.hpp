// SPDX-License-Identifier: Apache-2.0
/// @file
/// A node of a gemel cluster in this process: opened from a configuration, it replicates, votes,
/// fails over and resynchronises by itself, with no gemeld beside it. The other node may run gemeld
/// or such a program, with the same configuration.
///
/// Threads. Completions and events are called on the loop's thread: the engine's own
/// (Threads::engine), or the one that calls Node::dispatch() (Threads::caller). Everything else may
/// be called from any thread, but where it says otherwise. No callback comes inside the call that
/// caused it, and none after the node's end.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <gemel/mirror.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace libgemel {

/// What gemel.toml says, as values: for programs that keep their configuration elsewhere. Both
/// nodes have to be given the same; what differs is told, and the mirror is not replicated.
struct ClusterOptions {
    /// One machine.
    struct Node {
        std::string name;                ///< Letters, digits, '.', '_', '-'; at most 63.
        std::vector<std::string> links;  ///< "10.0.0.1:7800"; the first carries the data.
    };
    /// One block volume.
    struct Block {
        std::string name;              ///< As a node's.
        std::string backing;           ///< Absolute path of what holds the bytes on this node.
        std::uint64_t size_bytes = 0;  ///< A multiple of 4 KiB.
    };
    /// What fails over as one.
    struct Mirror {
        std::string name;                  ///< As a node's.
        std::array<std::string, 2> nodes;  ///< The first is preferred at the very first start.
        std::vector<Block> blocks;         ///< At least one.
    };

    std::string name;                          ///< Of the cluster.
    std::string key_file;                      ///< Absolute path of what `gemel keygen` has made.
    std::vector<Node> nodes;                   ///< Those of all mirrors.
    std::string witness;                       ///< "10.0.0.9:7801"; empty: arbiter kind "none".
    std::vector<Mirror> mirrors;               ///< Those of this node are opened.
    std::chrono::milliseconds heartbeat{100};  ///< On every link.
    std::chrono::milliseconds detect{1000};    ///< Silence for so long is a failure.
};

/// Who runs the engine.
enum class Threads : int {
    engine = 0,  ///< A thread of the library's.
    caller = 1,  ///< The caller, by Node::dispatch() from its own event loop.
};

/// As in syslog.
enum class LogLevel : int {
    debug = 0,    ///< For whoever debugs the engine.
    info = 1,     ///< What happened.
    warning = 2,  ///< What may need a person.
    error = 3,    ///< What has failed.
};

/// What an Event tells.
enum class EventKind : int {
    state = 0,            ///< Mirror::status() is in another state, for the reason in `text`.
    serving = 1,          ///< Requests are accepted from now on.
    stopped_serving = 2,  ///< They are not any more; those under way complete by themselves.
    ending = 3,           ///< A swap or stop begins; see NodeOptions::end_limit.
    size = 4,             ///< A volume has grown.
    notice = 5,           ///< For people: a word for its kind and a sentence.
};

/// Something that happened.
struct Event {
    EventKind kind = EventKind::notice;  ///< What.
    Mirror& mirror;                      ///< To which mirror.
    State state = State::stopped;        ///< Its state now.
    std::string_view word;               ///< notice: "failure", "resync", ...
    std::string_view text;               ///< A sentence; valid during the call.
};

/// How to open a node. Exactly one of config_file, config_text and cluster is given.
struct NodeOptions {
    std::string config_file;                ///< Path of a gemel.toml(5), or
    std::string config_text;                ///< its text, or
    std::optional<ClusterOptions> cluster;  ///< the values.
    std::string node;                       ///< Which node this is; empty: the host's name.
    std::string state_directory = "/var/lib/gemel";  ///< Epochs, ids, intents; made if missing.
    /// Where `gemel` reaches the node: control.sock in it, made if missing. Empty: nowhere.
    std::string run_directory;
    Threads threads = Threads::engine;  ///< Who runs the engine.
    /// How long the engine's thread looks for new work before it sleeps; for latency, costs CPU.
    std::chrono::microseconds spin{0};
    /// How long a swap or stop waits for Mirror::end_use() after EventKind::ending. 0: it does not
    /// wait. Requests are accepted meanwhile.
    std::chrono::milliseconds end_limit{0};
    /// Called on the loop's thread; may come before open_node() returns. May be empty.
    std::function<void(const Event&)> on_event;
    /// Lines for a log, without newline; any thread. May be empty.
    std::function<void(LogLevel, std::string_view)> on_log;
};

/// A running node. Destroying it leaves the cluster in order: a mirror that it serves is handed to
/// a peer in sync, what is under way completes first, and then nothing is called any more. That may
/// take some seconds. A process that just ends loses nothing either: the peer takes over as after
/// a crash.
///
/// Requires: destroyed by the thread that dispatches (Threads::caller), or by any but the engine's.
class Node {
   public:
    virtual ~Node() = default;
    Node() = default;
    Node(const Node&) = delete;             ///< Not copied.
    Node& operator=(const Node&) = delete;  ///< Not copied.

    /// What this node is called. Any thread.
    /// @return valid as long as the node.
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
    /// How many mirrors it has; constant. Any thread.
    /// @return may be 0.
    [[nodiscard]] virtual std::size_t mirror_count() const noexcept = 0;
    /// A mirror by index, in the order of the configuration. Any thread.
    /// @param index  below mirror_count().
    /// @return the node's.
    [[nodiscard]] virtual Mirror& mirror(std::size_t index) noexcept = 0;
    /// A mirror by name. Any thread.
    /// @param name  as configured.
    /// @return null when this node has none of that name.
    [[nodiscard]] virtual Mirror* find_mirror(std::string_view name) noexcept = 0;

    /// Threads::caller: what to wait for. Any thread.
    /// @return a descriptor of the library's, readable (POLLIN, EPOLLIN) whenever dispatch() has
    /// something to do; not to be read or closed. -1 with Threads::engine.
    [[nodiscard]] virtual int descriptor() const noexcept = 0;
    /// Threads::caller: does what there is to do and returns without waiting for anything but short
    /// system calls. Requires: the thread that called open_node(), and no callback of the node's on
    /// its stack. Call it soon whenever the descriptor is readable: a node that is not
    /// dispatched for `detect` holds up its peer's writes and is then left behind; from one that
    /// serves and is not dispatched for 30 s the peer takes over.
    virtual void dispatch() = 0;
};

/// Opens a node and lets it begin to take part. Waits for the disk. Needs CAP_SYS_ADMIN (trusted
/// extended attributes) and io_uring.
/// @param options  copied.
/// @param why  a sentence for people, or one for each mistake of the configuration, on failure.
/// @return null on failure: nothing was changed, and nothing runs. A mirror with directories is
/// refused, because they need gemeld's mounts.
LIBGEMEL_API std::unique_ptr<Node> open_node(const NodeOptions& options, std::string& why);

}  // namespace libgemel
