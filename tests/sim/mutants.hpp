// SPDX-License-Identifier: Apache-2.0
// Deliberately broken parts, put around the production ones of a simulated cluster. A campaign that
// does not catch them is worth nothing.
#pragma once

#include "controller/arbiter.hpp"
#include "engine/io/loop.hpp"
#include "engine/mirror/peer_link.hpp"
#include "engine/mirror/replica.hpp"
#include "engine/store/intent_log.hpp"
#include "engine/store/superblock.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gemel::sim {

enum class Mutant : unsigned char {
    none,
    acknowledge_early,          // the serving node hears of an ack before the op has left
    forget_intents,             // regions of content are touched without their intent
    clear_before_sync,          // a secondary says that it has synced a round, and has not
    ignore_failed_sync,         // a failed sync counts as a good one
    apply_out_of_order,         // two ops that arrive together are exchanged
    skip_marking,               // what was in flight when the link was lost is not marked
    takeover_without_register,  // the sole right to serve is taken without asking
    takeover_from_resync,       // a copy that is being filled believes itself in sync
    own_times,                  // a secondary stamps what it applies by its own wall clock
    keep_intents,               // no intent is ever cleared
    acknowledge_blocks_early,   // as acknowledge_early, of block volumes alone
    flush_early,                // a sync is answered for the peer before it has left
    grow_early,                 // a growth is answered for the peer, which never hears of it
    verify_out_of_order,        // what a verify compares overtakes the ops before it
    leak_descriptors,           // a session leaves an open file,
    leak_timers,                // or a running timer,
    leak_memory,                // or an entry in a list
};

// Those that work in every campaign, by name; "none" for none. Empty: there is none of this name.
[[nodiscard]] std::optional<Mutant> find_mutant(std::string_view name) noexcept;

// Holds every frame back for a while, and answers what `mutant` says at once.
class EarlyAckLink final : public PeerLink {
   public:
    EarlyAckLink(Loop& loop, std::unique_ptr<PeerLink> inner,
                 Mutant mutant = Mutant::acknowledge_early);

    void send(FrameType type, Bytes head, Bytes body) noexcept override;
    void flush() noexcept override {}
    [[nodiscard]] std::size_t unsent() const noexcept override { return inner_->unsent(); }
    void close() noexcept override;
    void set_handler(PeerLinkHandler& handler) noexcept override;

   private:
    struct Frame {
        FrameType type;
        ByteBuffer payload;
    };

    // The answer to a frame, or nothing.
    [[nodiscard]] std::optional<Frame> answer_to(FrameType type, Bytes payload) const;
    void let_go() noexcept;

    Loop& loop_;
    std::unique_ptr<PeerLink> inner_;
    Mutant mutant_;
    PeerLinkHandler* handler_ = nullptr;
    std::deque<Frame> held_;
    Timer timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// A log that something is wrong with.
class IntentsAround : public IntentLog {
   public:
    explicit IntentsAround(std::unique_ptr<IntentLog> inner) : inner_(std::move(inner)) {}

    [[nodiscard]] bool covers(const IntentKey& key) const noexcept override {
        return inner_->covers(key);
    }
    bool touch(std::span<const IntentKey> keys) noexcept override { return inner_->touch(keys); }
    bool touch_once(std::span<const IntentKey> keys) noexcept override {
        return inner_->touch_once(keys);
    }
    void commit(std::function<void(Status)> done) noexcept override {
        inner_->commit(std::move(done));
    }
    std::uint64_t begin_round() noexcept override { return inner_->begin_round(); }
    void clear_through(std::uint64_t round, std::uint64_t idle_rounds) noexcept override {
        inner_->clear_through(round, idle_rounds);
    }
    void clear(std::span<const IntentKey> keys) noexcept override { inner_->clear(keys); }
    void for_each(const std::function<void(const IntentKey&)>& visit) const noexcept override {
        inner_->for_each(visit);
    }
    [[nodiscard]] std::size_t live_count() const noexcept override { return inner_->live_count(); }
    [[nodiscard]] bool is_failed() const noexcept override { return inner_->is_failed(); }
    void recover() noexcept override { inner_->recover(); }

   protected:
    std::unique_ptr<IntentLog> inner_;
};

class HoardingIntents final : public IntentsAround {
   public:
    using IntentsAround::IntentsAround;

    void clear_through(std::uint64_t, std::uint64_t) noexcept override {}
    void clear(std::span<const IntentKey>) noexcept override {}
};

// Says that every region of content is durably marked, and marks none.
class ForgetfulIntents final : public IntentsAround {
   public:
    using IntentsAround::IntentsAround;

    [[nodiscard]] bool covers(const IntentKey& key) const noexcept override {
        return is_forgotten(key) || inner_->covers(key);
    }
    bool touch(std::span<const IntentKey> keys) noexcept override;
    bool touch_once(std::span<const IntentKey> keys) noexcept override { return touch(keys); }

   private:
    // New objects' ranges too: they stand for the content of what was made lately.
    static bool is_forgotten(const IntentKey& key) noexcept {
        return key.region <= IntentKey::kAllContent || key.region == IntentKey::kIdRange;
    }
};

// What sessions leave behind, as `mutant` says.
class SessionLeaks {
   public:
    SessionLeaks(Loop& loop, Mutant mutant) : loop_(loop), mutant_(mutant) {}

    void on_session();

   private:
    Loop& loop_;
    Mutant mutant_;
    std::vector<ScopedFd> files_;
    std::vector<std::unique_ptr<Timer>> timers_;
    std::vector<ByteBuffer> entries_;
};

// A link whose frames something happens to, on their way in or at its end.
class MeddlingLink : public PeerLink, protected PeerLinkHandler {
   public:
    explicit MeddlingLink(std::unique_ptr<PeerLink> inner) : inner_(std::move(inner)) {}

    void send(FrameType type, Bytes head, Bytes body) noexcept override {
        inner_->send(type, head, body);
    }
    void flush() noexcept override { inner_->flush(); }
    [[nodiscard]] std::size_t unsent() const noexcept override { return inner_->unsent(); }
    void close() noexcept override { inner_->close(); }
    void set_handler(PeerLinkHandler& handler) noexcept override {
        handler_ = &handler;
        inner_->set_handler(*this);
    }

   protected:
    void on_frame(FrameType type, Bytes payload) noexcept override {
        handler_->on_frame(type, payload);
    }
    void on_lost(Status reason) noexcept override { handler_->on_lost(reason); }

    std::unique_ptr<PeerLink> inner_;
    PeerLinkHandler* handler_ = nullptr;
};

class UnsyncedRoundLink final : public MeddlingLink {
   public:
    UnsyncedRoundLink(std::unique_ptr<PeerLink> inner, IntentLog& intents,
                      std::uint64_t idle_rounds)
        : MeddlingLink(std::move(inner)), intents_(intents), idle_rounds_(idle_rounds) {}

   private:
    void on_frame(FrameType type, Bytes payload) noexcept override;

    IntentLog& intents_;
    std::uint64_t idle_rounds_;
    std::uint64_t round_ = 0;
};

class ReorderingLink final : public MeddlingLink {
   public:
    ReorderingLink(Loop& loop, std::unique_ptr<PeerLink> inner)
        : MeddlingLink(std::move(inner)), timer_(loop, [this] { let_go(); }) {}
    void close() noexcept override {
        timer_.cancel();
        inner_->close();
    }

   private:
    void on_frame(FrameType type, Bytes payload) noexcept override;
    void let_go() noexcept;

    Timer timer_;
    ByteBuffer held_;  // an op that waits for the next; empty: none
    std::uint64_t count_ = 0;
};

class OwnTimesLink final : public MeddlingLink {
   public:
    OwnTimesLink(Loop& loop, std::unique_ptr<PeerLink> inner)
        : MeddlingLink(std::move(inner)), loop_(loop) {}

   private:
    void on_frame(FrameType type, Bytes payload) noexcept override;

    Loop& loop_;
};

class OvertakingLink final : public MeddlingLink {
   public:
    OvertakingLink(Loop& loop, std::unique_ptr<PeerLink> inner)
        : MeddlingLink(std::move(inner)), timer_(loop, [this] { let_go(); }) {}
    void close() noexcept override {
        timer_.cancel();
        held_.clear();
        inner_->close();
    }

   private:
    void on_frame(FrameType type, Bytes payload) noexcept override;
    void let_go() noexcept;

    Timer timer_;
    std::deque<std::pair<FrameType, ByteBuffer>> held_;
};

class UnmarkedLink final : public MeddlingLink {
   public:
    UnmarkedLink(Loop& loop, std::unique_ptr<PeerLink> inner, Replica& replica)
        : MeddlingLink(std::move(inner)), loop_(loop), replica_(replica) {}
    void close() noexcept override;

   private:
    Loop& loop_;
    Replica& replica_;
};

class CarelessArbiter final : public Arbiter {
   public:
    // `own`: this node's incarnation, for takeover_from_resync.
    CarelessArbiter(Loop& loop, std::unique_ptr<Arbiter> inner, Mutant mutant, std::string node,
                    std::function<Incarnation()> own)
        : loop_(loop),
          inner_(std::move(inner)),
          mutant_(mutant),
          node_(std::move(node)),
          own_(std::move(own)) {}

    void read(std::function<void(const ReadAnswer&)> done) noexcept override;
    void swap(const RegisterProposal& proposal,
              std::function<void(const SwapAnswer&)> done) noexcept override;
    [[nodiscard]] std::string name() const override { return inner_->name(); }

   private:
    Loop& loop_;
    std::unique_ptr<Arbiter> inner_;
    Mutant mutant_;
    std::string node_;
    std::function<Incarnation()> own_;
};

}  // namespace gemel::sim
