// SPDX-License-Identifier: Apache-2.0
// The verifies of one mirror on one node (docs/verify.md): started by a person or when it is time,
// watched, told of, and, if that was asked for, followed by the mending of what differs. Nothing is
// decided here about who serves: mending goes the way of every change that came without the mirror
// (marked_resync.hpp).
#pragma once

#include "controller/mirror_node.hpp"
#include "controller/ports.hpp"
#include "controller/status_model.hpp"
#include "controller/verify_record.hpp"
#include "resync/verify_source.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

class MirrorVerify final : private Job {
   public:
    struct World {
        Loop& loop;
        Replica& replica;
        IntentLog& intents;
        MirrorNode& node;
        MirrorEventSink& events;
        Fd directory;  // the mirror's state directory
    };
    struct Options {
        std::string mirror, node, peer;
        std::vector<std::string> volumes;  // as people know them
        Duration period;                   // of the schedule; 0: there is none
    };
    struct Request {
        bool repair = false;
        std::uint64_t rate = kVerifyRateDefault;  // bytes a second; 0: no limit
    };
    // So many differing objects of a run are told of one by one.
    static constexpr std::uint64_t kEventsMax = 20;

    // Reads the record: waits for the disk. Requires: what World names outlives it, and no store is
    // under way when it is destroyed.
    MirrorVerify(const World& world, Options options);
    ~MirrorVerify();
    MirrorVerify(const MirrorVerify&) = delete;
    MirrorVerify& operator=(const MirrorVerify&) = delete;

    // Empty: it has begun. Else a sentence: it is refused.
    std::string start(const Request& request);
    // Of the run under way, likewise.
    std::string stop();
    // Whether it is time, and whether what is being mended is: call it every heartbeat or so.
    void check() noexcept;

    [[nodiscard]] VerifyStatus status() const;
    // Of the run under way, or the last one since this process began.
    [[nodiscard]] std::vector<VerifyFinding> findings() const;

   private:
    enum class Step : std::uint8_t { idle, comparing, syncing, marking, mending };

    void begin(const Request& request, bool scheduled);
    void ended(VerifyEnd how, const std::string& why);
    void mend();
    void mark();
    void finish(VerifyOutcome outcome, const std::string& why);
    void tell_difference(std::uint16_t volume, const std::string& path);
    void check_schedule() noexcept;
    void store() noexcept;
    void event(LogLevel level, const std::string& text);
    [[nodiscard]] std::string shown(std::uint16_t volume, const std::string& path) const;
    // Calls `function` unless this object is gone by then.
    template <typename Function>
    auto guarded(Function function) {
        return [alive = std::weak_ptr<bool>(alive_), function](const auto&... arguments) {
            if (!alive.expired()) function(arguments...);
        };
    }

    void run() noexcept override;  // Job: stores the record
    void done() noexcept override;

    World world_;
    Options options_;
    Step step_ = Step::idle;
    Request request_;
    std::uint64_t run_ = 0;  // how many there have been
    ResyncProgress progress_;
    VerifyReport report_;
    VerifySource* source_ = nullptr;  // while comparing
    VerifyResult result_;             // of the run under way
    std::uint64_t told_ = 0;
    Instant next_try_;  // of marking; of a scheduled run that broke off
    VerifyRecord record_;
    VerifyRecord stored_;  // being written
    bool is_storing_ = false, stores_again_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gemel
