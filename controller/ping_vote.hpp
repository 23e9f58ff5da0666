// SPDX-License-Identifier: Apache-2.0
// The vote of arbiter kind "ping": a node that has lost its peer may go on alone if an address that
// is reached over the same network as the peer answers pings, because then this node is not the one
// that is cut off. The register is that of kind none (arbiter_none.hpp).
//
// What it can't know: whether the peer is dead or only the way between the nodes is cut. In such a
// cut both nodes may go on; their histories tell it afterwards, and the copies are not merged.
//
// What it must not do is to go on by a register that the peer has changed meanwhile, alone, by its
// own ping. So a node may go on only
//   - while the peer is silent on every link (a lost session is not enough: the peer would see
//     heartbeats, and is asked when it is back);
//   - within a short time, `chance`, after the last moment at which it was connected to the peer
//   and
//     knew that both copies of the register were the same. If the address has not answered until
//     then, the peer may have gone on, and a ping that is answered later proves nothing about that;
//   - hence never after a start, a stop by SIGSTOP or a pause for longer than detection before
//     the peer has answered a question about its register.
// The hole that is left is the chance itself: the peer goes on alone within it, because only this
// node was cut off, and dies within it, too, while this node's network comes back.
#pragma once

#include "controller/arbiter_none.hpp"
#include "netdev/pinger.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace gemel {

class PingVote final : public SoloVote {
   public:
    struct Options {
        std::string peer;
        Duration detect = Duration::seconds(1);
        // Beyond detection: for the pings, and for a loaded machine.
        Duration slack = Duration::seconds(3);
    };
    // Sends the peer a question about its register; agreed(refresh) is its answer.
    using Refresh = std::function<void(std::uint64_t refresh)>;

    // Requires: loop outlives it.
    PingVote(Loop& loop, std::unique_ptr<PingSource> pings, Options options);

    void set_refresh(Refresh refresh) { refresh_ = std::move(refresh); }
    // A new session with the peer: what an earlier one has said counts no more.
    void session_begins() noexcept;
    void peer_is_silent(bool is_silent) noexcept { is_silent_ = is_silent; }
    // Call it every heartbeat: `connected` now.
    void tick(bool connected);

    void ask(std::function<void(bool may, const std::string& text)> done) override;
    void agreed(std::uint64_t refresh) override;
    void disagreed() override;

   private:
    using Done = std::function<void(bool may, const std::string& text)>;

    // What is known of the peer is void if this process did not run for so long that the peer may
    // have found it silent, and gone on.
    void notice_pause(Instant now);
    // Why not, before or after a ping; empty when nothing speaks against it.
    [[nodiscard]] std::string objection(Instant now);
    void answer(bool may, std::string text);

    Loop& loop_;
    Options options_;
    Refresh refresh_;
    bool is_silent_ = false;
    bool is_agreed_ = false;
    std::uint64_t asked_ = 0;  // the refresh under way, or the last one
    Instant asked_at_;
    std::optional<Instant> ran_at_;        // this process, as far as is known
    std::optional<Instant> agreed_until_;  // when the copies were known to be the same
    Done done_;
    std::unique_ptr<PingSource> pings_;  // goes first: no answer comes after it
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gemel
