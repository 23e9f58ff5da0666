// SPDX-License-Identifier: Apache-2.0
// Arbiter over an etcd cluster: a register is one key, a change of it one transaction that puts the
// new value if the key still holds the bytes that were read.
//
// What settles a swap (arbiter.hpp):
//   won      the transaction says so, or the key holds this proposal's token;
//   lost     the key holds anything else but what the proposal expects. Register values never come
//            back, so an earlier request with the same comparison, which may still be on its way to
//            another member, finds it failed for ever;
//   unknown  the transaction may have reached a member and nobody has said what became of it. The
//            same proposal is sent again, over what a read shows then: of two requests on their way
//            one is carried out and the other one shows its token.
// Reads are linearizable, so no member answers with what it has not heard of yet. Members are asked
// one after the other, beginning with the one that answered last, each for its share of the time.
//
// A value counts in the etcd cluster it names only (etcd_messages.hpp). One that a member of
// another cluster holds is a copy: everything but a person's force is refused over it. So is, as an
// answer to a proposal that may have been sent, what another cluster says than the one it went to.
#pragma once

#include "controller/arbiter.hpp"
#include "controller/etcd_messages.hpp"
#include "controller/etcd_transport.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

class EtcdArbiter final : public Arbiter {
   public:
    struct Options {
        std::string cluster, mirror;
        std::vector<SocketAddress> members;     // as the transport has them; at least one
        Duration limit = Duration::seconds(2);  // within which every call is answered
    };

    // Requires: loop outlives it.
    EtcdArbiter(Loop& loop, std::unique_ptr<EtcdTransport> transport, Options options);

    void read(std::function<void(const ReadAnswer&)> done) noexcept override;
    void swap(const RegisterProposal& proposal,
              std::function<void(const SwapAnswer&)> done) noexcept override;
    [[nodiscard]] std::string name() const override { return "etcd"; }

   private:
    enum class Step : std::uint8_t { reading, swapping };
    struct Call {
        Step step = Step::reading;
        Instant deadline;
        std::size_t asked = 0;                        // members, in this step
        bool maybe_sent = false;                      // the transaction may have reached a member
        std::string document;                         // that the transaction puts
        std::map<std::size_t, std::string> failures;  // "10.0.0.1:2379: Connection refused"
        RegisterProposal proposal;
        std::function<void(const ReadAnswer&)> read_done;  // one of the two
        std::function<void(const SwapAnswer&)> swap_done;
    };
    // What the key held when it was seen last, and what that means.
    struct Seen {
        EtcdEntry entry;
        Status status;        // why it can't be used, when it can't
        RegisterValue value;  // when ok; or a copy that is foreign here
        std::string text;
    };

    // Where a transaction may have arrived whose outcome nobody has told.
    struct Unsettled {
        Uuid token;
        std::string etcd;
    };

    void begin(Call call);
    void ask();
    void answered(const EtcdReply& reply);
    void member_failed(const std::string& why);
    void read_answered(const std::string& body);
    void txn_answered(const std::string& body);
    [[nodiscard]] Seen interpret(EtcdEntry entry) const;
    // What was just read, in a call that swaps.
    void judge_seen();
    void send_txn();
    void give_up(std::string text);
    void finish(const ReadAnswer& answer);
    void finish(const SwapAnswer& answer);

    Loop& loop_;
    Options options_;
    std::string key_;
    std::size_t first_ = 0;  // member that is asked first
    std::optional<Seen> seen_;
    std::optional<Unsettled> unsettled_;
    std::optional<Call> call_;
    std::unique_ptr<EtcdTransport> transport_;  // goes first: no answer comes after it
};

}  // namespace gemel
