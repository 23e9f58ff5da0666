// SPDX-License-Identifier: Apache-2.0
// Deliberately broken parts, put around the production ones of a simulated cluster. A campaign that
// does not catch them is worth nothing.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/mirror/peer_link.hpp"
#include "engine/store/intent_log.hpp"

#include <deque>
#include <memory>

namespace gemel::sim {

enum class Mutant : unsigned char {
    none,
    acknowledge_early,  // the serving node hears of an ack before the op has left
    forget_intents,     // regions of content are touched without their intent
};

// Holds every frame back for a while, and acknowledges each op at once.
class EarlyAckLink final : public PeerLink {
   public:
    EarlyAckLink(Loop& loop, std::unique_ptr<PeerLink> inner);

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

    void let_go() noexcept;

    Loop& loop_;
    std::unique_ptr<PeerLink> inner_;
    PeerLinkHandler* handler_ = nullptr;
    std::deque<Frame> held_;
    Timer timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Says that every region of content is durably marked, and marks none.
class ForgetfulIntents final : public IntentLog {
   public:
    explicit ForgetfulIntents(std::unique_ptr<IntentLog> inner) : inner_(std::move(inner)) {}

    [[nodiscard]] bool covers(const IntentKey& key) const noexcept override {
        return is_forgotten(key) || inner_->covers(key);
    }
    bool touch(std::span<const IntentKey> keys) noexcept override;
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

   private:
    // New objects' ranges too: they stand for the content of what was made lately.
    static bool is_forgotten(const IntentKey& key) noexcept {
        return key.region <= IntentKey::kAllContent || key.region == IntentKey::kIdRange;
    }

    std::unique_ptr<IntentLog> inner_;
};

}  // namespace gemel::sim
