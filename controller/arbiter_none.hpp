// SPDX-License-Identifier: Apache-2.0
// Arbiter kind "none": no third vote. Each node keeps the register itself; a change needs both
// nodes (first the peer stores it, then this one), so while they cannot talk nothing changes but by
// a person's promote --force. What may change without the peer is only what concerns this node
// alone: {me} to {me}.
//
// The copy with the higher epoch is the register: it was either stored by both, or is the latter
// half of a change under way, which whoever proposed it proposes again, or was forced. Two copies
// of one epoch mean force on both sides; the greater token counts, and histories tell the
// difference.
//
// Kind "ping" is the same with a SoloVote, which may let a node that both copies name change the
// register without the peer.
#pragma once

#include "controller/arbiter.hpp"
#include "controller/mirror_machine_messages.hpp"
#include "engine/io/loop.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace gemel {

class RegisterStore;

// Whether this node may go on without its peer (ping_vote.hpp). Loop thread only.
class SoloVote {
   public:
    virtual ~SoloVote() = default;
    // `done` comes once, from the loop, never inside the call; not after destruction.
    // `text`: why not; or what is not certain, although it may. At most one question at a time.
    virtual void ask(std::function<void(bool may, const std::string& text)> done) = 0;
    // The peer has answered the question numbered `refresh`: this copy is as new as its own.
    virtual void agreed(std::uint64_t refresh) = 0;
    // The peer's may be newer.
    virtual void disagreed() = 0;
};

// This node's own copy of one mirror's register.
class LocalRegister {
   public:
    virtual ~LocalRegister() = default;
    [[nodiscard]] virtual RegisterValue read() const = 0;
    // Requires: value.epoch > read().epoch, no store is under way. Durable when `done` says ok.
    virtual void store(const RegisterValue& value, std::function<void(Status)> done) = 0;
};

// In a RegisterStore in the node's own state directory.
class StoredRegister final : public LocalRegister {
   public:
    // Requires: `store` outlives it.
    StoredRegister(RegisterStore& store, std::string cluster, std::string mirror)
        : store_(store), cluster_(std::move(cluster)), mirror_(std::move(mirror)) {}
    [[nodiscard]] RegisterValue read() const override;
    void store(const RegisterValue& value, std::function<void(Status)> done) override;

   private:
    RegisterStore& store_;
    std::string cluster_, mirror_;
};

class NoArbiter final : public Arbiter {
   public:
    struct Options {
        std::string node, peer;
        bool is_first = false;  // of the mirror's nodes: its proposal goes before the other's
        Duration limit = Duration::seconds(2);
    };
    // Sends a message over the present session; false when there is none.
    using Send = std::function<bool(const ControlMessage&)>;

    // Requires: loop and local outlive it.
    NoArbiter(Loop& loop, LocalRegister& local, Options options);

    void set_send(Send send) { send_ = std::move(send); }
    void set_vote(std::unique_ptr<SoloVote> vote) { vote_ = std::move(vote); }
    // Compares the copies with the peer; then the vote's agreed(refresh). Nothing without a
    // session.
    void refresh(std::uint64_t refresh);
    // Every control message of the kinds register_*.
    void on_message(const ControlMessage& message);

    void read(std::function<void(const ReadAnswer&)> done) noexcept override;
    void swap(const RegisterProposal& proposal,
              std::function<void(const SwapAnswer&)> done) noexcept override;
    [[nodiscard]] std::string name() const override { return "the register of both nodes"; }

   private:
    struct Call {
        std::uint64_t number = 0;
        bool is_sent = false;
        RegisterProposal proposal;                         // of a swap
        std::function<void(const ReadAnswer&)> read_done;  // one of the two
        std::function<void(const SwapAnswer&)> swap_done;
    };

    [[nodiscard]] SwapVerdict verdict(const RegisterProposal& proposal,
                                      const RegisterValue& current) const noexcept;
    void begin(Call call);
    void answer_read(const ReadAnswer& answer);
    void answer_swap(const SwapAnswer& answer);
    void expired();
    // Without a session.
    void read_alone();
    void swap_alone(const RegisterValue& own);
    void store_swap(const std::string& text);
    [[nodiscard]] std::string no_session() const;
    void handle(const ControlMessage& message);
    void refreshed(const RegisterValue& peers);
    void peer_value(const ControlMessage& message);
    void peer_proposes(const ControlMessage& message);
    void peer_answers(const ControlMessage& message);
    // Stores the value unless this node has it or a newer one already; then calls `next`.
    void adopt(const RegisterValue& value, std::function<void(Status)> next);
    bool send(ControlMessage message);

    Loop& loop_;
    LocalRegister& local_;
    Options options_;
    Send send_;
    std::uint64_t refresh_ = 0;         // what is being refreshed, for the vote
    std::uint64_t refresh_number_ = 0;  // the question about it; 0: none
    std::optional<Call> call_;
    bool is_storing_ = false;
    std::uint64_t next_number_ = 1;
    Timer timer_;
    std::unique_ptr<SoloVote> vote_;  // null: kind none
};

}  // namespace gemel
