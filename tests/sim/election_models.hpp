// SPDX-License-Identifier: Apache-2.0
// The parts of one modelled node: its replica, session, arbiter client, mounts and services.
#pragma once

#include "controller/ports.hpp"
#include "engine/mirror/replica.hpp"
#include "tests/sim/election_world.hpp"

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace gemel::sim {

// One session: two ends, frames in order in each direction. A cut direction delays its frames until
// it heals, as a transport that repeats does, or until the ends give up.
class ModelSession : public std::enable_shared_from_this<ModelSession> {
   public:
    struct Frame {
        bool is_end = false;
        FrameType type{};
        ByteBuffer payload;
    };
    struct End {
        ElectionLoop* loop = nullptr;
        std::shared_ptr<ElectionLife> life;
        PeerLinkHandler* handler = nullptr;
        bool is_open = true;
        std::deque<Frame> outgoing;
        bool pumping = false;
    };

    explicit ModelSession(ElectionWorld& world) : world_(world) {}
    End& end(int side) { return ends_[ElectionWorld::index(side)]; }
    void send(int side, Frame frame);
    void close(int side);
    // The machine of this side is gone without a word; what it had sent may be lost.
    void vanish(int side);

   private:
    void pump(int side);
    void deliver(int side, Frame frame);
    void lose(int side);

    ElectionWorld& world_;
    std::array<End, 2> ends_;
};

class ModelLink final : public PeerLink {
   public:
    ModelLink(std::shared_ptr<ModelSession> session, int side)
        : session_(std::move(session)), side_(side) {}
    ~ModelLink() override { close(); }
    void send(FrameType type, Bytes head, Bytes body) noexcept override {
        ByteBuffer payload(head.begin(), head.end());
        payload.insert(payload.end(), body.begin(), body.end());
        session_->send(side_, {false, type, std::move(payload)});
    }
    void flush() noexcept override {}
    [[nodiscard]] std::size_t unsent() const noexcept override { return 0; }
    void close() noexcept override { session_->close(side_); }
    void set_handler(PeerLinkHandler& handler) noexcept override {
        session_->end(side_).handler = &handler;
    }

   private:
    std::shared_ptr<ModelSession> session_;
    int side_;
};

class ModelReplica final : public ReplicaPort, private PeerLinkHandler {
   public:
    ModelReplica(ElectionWorld& world, ElectionLoop& loop, int node)
        : world_(world), loop_(loop), node_(node) {}

    void set_events(ReplicaPortEvents& events) noexcept override { events_ = &events; }
    void distrust_cache() noexcept override {}
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
    [[nodiscard]] PeerLink* link() noexcept override { return link_.get(); }
    [[nodiscard]] Duration waiting_for_peer() const noexcept override;
    [[nodiscard]] Duration waiting_for_disk() const noexcept override;
    [[nodiscard]] ApplicationLoad::Answered peer_answers() const noexcept override { return {}; }

    // False when this node does not serve.
    bool submit(int op);
    void fail();
    [[nodiscard]] ReplicaRole role() const { return role_; }
    [[nodiscard]] bool is_serving() const {
        return role_ == ReplicaRole::alone || role_ == ReplicaRole::attaching ||
               role_ == ReplicaRole::primary || role_ == ReplicaRole::held;
    }
    [[nodiscard]] bool is_idle() const { return role_ == ReplicaRole::idle; }

   private:
    enum class FirstWrite { to_come, storing, done };
    struct InFlight {
        int op = 0;
        std::uint64_t number = 0;
        bool is_acked = false;
        Instant since;
    };
    void on_frame(FrameType type, Bytes payload) noexcept override;
    void on_lost(Status reason) noexcept override;
    void execute(int op);
    void run_queue();
    void answer_alone();
    void acked(std::uint64_t number);
    void check_complete();
    void check_quiesced();
    void notify(ReplicaNotice notice, Status status = {}, std::string what = {});
    void lose_link();
    void apply(std::uint64_t number, int op);
    OpSet& content();

    ElectionWorld& world_;
    ElectionLoop& loop_;
    int node_;
    ReplicaPortEvents* events_ = nullptr;
    ReplicaRole role_ = ReplicaRole::idle;
    std::unique_ptr<PeerLink> link_;
    std::unique_ptr<PeerLink> kept_link_;  // Mutant::keeps_session
    std::uint64_t session_ = 0;
    std::uint64_t next_number_ = 1;
    std::deque<InFlight> in_flight_;
    std::deque<int> queue_;
    FirstWrite first_write_ = FirstWrite::to_come;
    bool snapshot_sent_ = false, snapshot_answered_ = false;
    bool is_quiescing_ = false, sync_asked_ = false;
};

class ModelArbiter final : public Arbiter {
   public:
    ModelArbiter(ElectionWorld& world, ElectionLoop& loop, int node)
        : world_(world), loop_(loop), node_(node) {}
    void read(std::function<void(const ReadAnswer&)> done) noexcept override;
    void swap(const RegisterProposal& proposal,
              std::function<void(const SwapAnswer&)> done) noexcept override;
    [[nodiscard]] std::string name() const override { return "the arbiter"; }

   private:
    void swap_unknown(const RegisterProposal& proposal,
                      const std::function<void(const SwapAnswer&)>& done);

    ElectionWorld& world_;
    ElectionLoop& loop_;
    int node_;
};

class ModelServices final : public MirrorMounts, public MirrorService {
   public:
    ModelServices(ElectionWorld& world, ElectionLoop& loop) : world_(world), loop_(loop) {}
    void show(MountMode mode, std::function<void(Status, std::string)> done) noexcept override;
    void abort() noexcept override {
        if (world_.options.mutant != Mutant::mount_not_aborted) mode_ = MountMode::guard;
    }
    void drain(std::function<void(Status, std::string)> done) noexcept override;
    void claim_addresses() noexcept override { address_held = true; }
    void drop_addresses() noexcept override {
        if (world_.options.mutant != Mutant::address_not_dropped) address_held = false;
    }
    void start_application() noexcept override { application_runs = true; }
    void stop_application(std::function<void()> done) noexcept override;

    [[nodiscard]] MountMode mode() const { return mode_; }
    bool address_held = false;
    bool application_runs = false;

   private:
    ElectionWorld& world_;
    ElectionLoop& loop_;
    MountMode mode_ = MountMode::guard;
    std::uint64_t generation_ = 0;
};

class ModelSuperblocks final : public SuperblockStore {
   public:
    ModelSuperblocks(ElectionWorld& world, ElectionLoop& loop, int node)
        : world_(world), loop_(loop), node_(node) {}
    void store(const Superblock& superblock, std::function<void(Status)> done) noexcept override;

   private:
    ElectionWorld& world_;
    ElectionLoop& loop_;
    int node_;
    Instant last_;
};

class ElectionNode final : public MirrorEventSink {
   public:
    ElectionNode(ElectionWorld& world, int node);
    ~ElectionNode() override;

    // Ends this life: nothing of it runs any more. `with_power`: without a word to the peer.
    void die(bool with_power);
    void tick();
    void event(const std::string& mirror, LogLevel level, const std::string& kind,
               const std::string& text) noexcept override;

    ElectionWorld& world;
    const int node;
    std::shared_ptr<ModelSession> session;  // the newest
    ElectionLoop loop;
    ModelReplica replica;
    ModelArbiter arbiter;
    ModelServices services;
    ModelSuperblocks superblocks;
    HeartbeatMonitor monitor;
    MirrorNode mirror;
    Duration peer_disk;  // as its last heartbeat said
    bool wants_start = true;
};

}  // namespace gemel::sim
