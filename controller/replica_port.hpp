// SPDX-License-Identifier: Apache-2.0
// ReplicaPort over the engine's Replica and the two sides of a resync: translates calls and events,
// decides nothing.
#pragma once

#include "controller/ports.hpp"
#include "engine/io/loop.hpp"
#include "engine/mirror/replica.hpp"
#include "resync/before_image.hpp"
#include "resync/pacer.hpp"
#include "resync/progress.hpp"
#include "resync/read_ahead.hpp"

#include <memory>

namespace gemel {

class EngineReplica final : public ReplicaPort, private ReplicaEvents {
   public:
    // Requires: all references outlive it.
    EngineReplica(Loop& loop, LogSink& log, IntentLog& intents,
                  std::span<const std::unique_ptr<Volume>> volumes,
                  const Replica::Options& options);
    ~EngineReplica() override;

    // For front ends and status.
    [[nodiscard]] Replica& replica() noexcept { return replica_; }
    [[nodiscard]] const ResyncProgress& resync_progress() const noexcept { return progress_; }
    // How fast resyncs from this node may go; holds for a running one from the next step on.
    [[nodiscard]] const ResyncPacer& resync_pacer() const noexcept { return pacer_; }
    // What the dirty maps relate to.
    [[nodiscard]] const ResyncMemory& resync_memory() const noexcept { return memory_; }
    void set_resync_range(const ResyncRateRange& range) noexcept;
    // A pause outlasts sessions, not the resync: it ends when the peer is in sync after all, or
    // when this node ceases to serve.
    void pause_resync(bool paused) noexcept;
    [[nodiscard]] const BeforeImage& before_image() const noexcept { return before_; }
    // Why restore_before() would answer not_found; empty: it would not.
    [[nodiscard]] std::string nothing_to_restore() const;

    void set_events(ReplicaPortEvents& events) noexcept override { events_ = &events; }
    void distrust_cache() noexcept override { replica_.distrust_cache(); }
    void begin_alone(std::uint64_t epoch) noexcept override;
    void history_stored(Status status) noexcept override;
    void attach_target(std::unique_ptr<PeerLink> link, bool full_compare) noexcept override;
    void compare_everything() noexcept override;
    void begin_attaching() noexcept override;
    void finish_attaching(bool peer_in_set) noexcept override;
    void forget_before() noexcept override;
    void begin_following(std::unique_ptr<PeerLink> link, const CopyToFill& copy) noexcept override;
    void promote_to_secondary() noexcept override;
    void restore_before() noexcept override;
    void detach() noexcept override;
    void quiesce() noexcept override;
    void resume() noexcept override;
    void sync_volumes() noexcept override;
    void stop() noexcept override;
    [[nodiscard]] PeerLink* link() noexcept override;
    [[nodiscard]] Duration waiting_for_peer() const noexcept override;
    [[nodiscard]] Duration waiting_for_disk() const noexcept override;
    [[nodiscard]] ApplicationLoad::Answered peer_answers() const noexcept override;

   private:
    void notice(ReplicaNotice what, Status status = {}, std::string text = {}) noexcept;

    void on_local_failure(Status reason, const std::string& what) noexcept override;
    void on_peer_failure(const std::string& what) noexcept override;
    void on_first_write_alone() noexcept override;
    void on_resync_complete() noexcept override;
    void on_control_frame(FrameType type, Bytes payload) noexcept override;
    void on_session_lost(Status reason) noexcept override;

    Loop& loop_;
    LogSink& log_;
    ReplicaPortEvents* events_ = nullptr;
    Replica replica_;
    ResyncMemory memory_;
    ResyncProgress progress_;
    ResyncPacer pacer_;
    ReadAhead read_ahead_;
    BeforeImage before_;
    std::uint64_t service_ = 0;  // grows with every stop: late callbacks of before are not told
};

}  // namespace gemel
