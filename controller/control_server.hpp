// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 with JSON on the unix socket `<run>/control.sock`: how `gemel` and curl reach the
// daemon.
//
//   GET  /v1/version                     {"version":"0.1.0"}
//   GET  /v1/status[/MIRROR]             status_json.hpp
//   GET  /v1/events?since=N&wait=S       events above number N, waiting at most S seconds for one
//   GET  /v1/doctor                      doctor.hpp
//   GET  /v1/mirrors/MIRROR/verify       the verify under way or the last one: status_json.hpp
//   POST /v1/mirrors/MIRROR/VERB         start stop release swap promote verify resync resize;
//                                        body: none or {"force":true},
//                                        {"repair":true,"rate":BYTES}, {"stop":true} (verify,
//                                        answered when it has begun: {"run":N}),
//                                        {"volume":"disk0","size":BYTES}; of resync one of
//                                        {"full":true}, {"pause":true}, {"resume":true},
//                                        {"rate":"10MiB..1GiB"}, or {"dry_run":true}, with
//                                        which "full" may stand; answered by an estimate
//
// Every failure is {"error": "sentence"}. An own thread speaks HTTP; it hands requests to the
// daemon's loop and suspends their connections, so that no thread waits for an answer.
#pragma once

#include "controller/event_log.hpp"
#include "controller/status_model.hpp"
#include "engine/base/status.hpp"
#include "engine/io/loop.hpp"
#include "resync/pacer.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

enum class ControlVerb : std::uint8_t {
    start,
    stop,
    release,
    swap,
    promote,
    verify,
    resync,
    resize,
};
std::string_view control_verb_name(ControlVerb verb) noexcept;

struct ControlCommand {
    std::string mirror;
    ControlVerb verb = ControlVerb::start;
    bool force = false;   // promote; always true when it arrives: the server refuses it otherwise
    bool repair = false;  // verify
    bool stop = false;    // verify: the one under way ends
    bool show = false;    // verify: nothing begins or ends; the answer is what has been found
    std::optional<std::uint64_t> rate = {};  // verify: bytes a second, 0 without limit
    // resync: exactly one of these when it arrives, or dry_run and full.
    bool full = false, pause = false, resume = false, dry_run = false;
    std::optional<ResyncRateRange> rate_range = {};
    std::string volume;          // resize: the block volume's name, and
    std::uint64_t size = 0;      // its new size in bytes, not 0
    bool before_resync = false;  // promote: with the state before the interrupted resync
};

struct ControlReply {
    // 200 done; 404 no such mirror; 409 refused in this state; 500 failed.
    unsigned http_status = 200;
    std::string json = "{}";

    static ControlReply done() { return {}; }
    // {"error": sentence}
    static ControlReply error(unsigned http_status, std::string_view sentence);
};

// What the daemon lends the server. All calls come on the daemon's loop.
class ControlApi {
   public:
    // State of every mirror now.
    virtual NodeStatus status() = 0;
    // Carries out a command. `reply` is called once, on the loop, inside the call or later: when
    // the command is done or has been refused. A command for an unknown mirror never arrives.
    virtual void command(const ControlCommand& command,
                         std::function<void(ControlReply)> reply) = 0;

   protected:
    ~ControlApi() = default;
};

class ControlServer {
   public:
    static constexpr std::size_t kBodySizeMax = 4096;
    static constexpr unsigned kConnectionsMax = 256;

    // Requires: all three outlive it.
    ControlServer(Loop& loop, ControlApi& api, EventLog& events);
    // As stop().
    ~ControlServer();
    ControlServer(const ControlServer&) = delete;
    ControlServer& operator=(const ControlServer&) = delete;

    // Listens on `<run_directory>/control.sock` (mode 0600), replacing the socket of a dead daemon.
    // On failure `sentence` says why: another daemon lives there, no permission, path too long.
    Status start(const std::string& run_directory, std::string& sentence);
    // Answers what is under way with 503, removes the socket, ends the thread. On the loop.
    void stop();

   private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace gemel
