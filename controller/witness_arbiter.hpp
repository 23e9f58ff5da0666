// SPDX-License-Identifier: Apache-2.0
// Arbiter over a witness: one session, made anew when it is lost. A question that was sent and not
// answered has an unknown outcome; one that could not be sent in time was certainly not carried
// out.
#pragma once

#include "controller/arbiter.hpp"
#include "controller/witness_messages.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "netdev/session_connector.hpp"

#include <memory>
#include <optional>
#include <string>

namespace gemel {

class WitnessArbiter final : public Arbiter,
                             private SessionConnectorHandler,
                             private PeerLinkHandler {
   public:
    // Requires: loop, log and identity outlive it. `limit`: within which every call is answered.
    WitnessArbiter(Loop& loop, LogSink& log, const SessionIdentity& identity,
                   const SocketAddress& witness, std::string mirror,
                   Duration limit = Duration::seconds(2));
    ~WitnessArbiter() override;

    void read(std::function<void(const ReadAnswer&)> done) noexcept override;
    void swap(const RegisterProposal& proposal,
              std::function<void(const SwapAnswer&)> done) noexcept override;
    [[nodiscard]] std::string name() const override;

   private:
    struct Pending {
        RegisterQuestion question;
        bool sent = false;
        std::function<void(const ReadAnswer&)> read_done;  // one of the two
        std::function<void(const SwapAnswer&)> swap_done;
    };

    void ask(Pending pending) noexcept;
    void send() noexcept;
    void fail(const std::string& text) noexcept;
    void finish_read(const ReadAnswer& answer) noexcept;
    void finish_swap(const SwapAnswer& answer) noexcept;
    void drop_link() noexcept;

    void on_session(std::unique_ptr<PeerLink> link, const PeerHello& peer) noexcept override;
    void on_attempt_failed(Status reason, const std::string& what) noexcept override;
    void on_frame(FrameType type, Bytes payload) noexcept override;
    void on_lost(Status reason) noexcept override;

    Loop& loop_;
    LogSink& log_;
    SocketAddress witness_;
    std::string mirror_;
    Duration limit_;
    SessionConnector connector_;
    std::unique_ptr<PeerLink> link_;
    std::optional<Pending> pending_;
    std::string last_failure_;
    std::uint64_t next_number_ = 1;
    Timer timer_;
};

}  // namespace gemel
