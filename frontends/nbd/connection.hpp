// SPDX-License-Identifier: Apache-2.0
// One client: its stream, its handshake, and its requests in progress. Bytes are taken from the
// stream only while there is room for what they may ask for, so a client that wants too much or
// reads no answers finds its own sends blocked; one that makes no progress for too long is dropped.
//
//   taking     messages are parsed in a staging buffer; the payload of a write goes from the stream
//              into the buffer that the export takes it from
//   answering  a reply is queued the moment its request completes; those of one turn of the loop
//              leave in one send
//   ending     after DISC, or when the export ceases to serve: nothing more is taken, requests in
//              flight come back first. What a node that has ceased to serve could not finish stays
//              unanswered: a client that reconnects sends it again, to the node that serves then
//
// Invariant: held_ + unsent() <= bytes_max + one request, with at most requests_max requests.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "engine/io/network.hpp"
#include "frontends/nbd/export.hpp"
#include "frontends/nbd/negotiation.hpp"
#include "frontends/nbd/replies.hpp"
#include "frontends/nbd/request_plan.hpp"

#include <deque>
#include <memory>
#include <string_view>
#include <vector>

namespace gemel::nbd {

struct ConnectionLimits {
    std::size_t requests_max = 256;            // in flight, per client
    std::size_t bytes_max = 32 * 1024 * 1024;  // of their payloads and of replies not sent yet
    Duration handshake_max = Duration::seconds(60);
    // A client that owes the rest of a message, or has answers to read, makes progress so often.
    Duration stall_max = Duration::seconds(120);
};

class Connection;

class ConnectionOwner {
   public:
    // Nothing of it is in flight any more and its stream is closed; it may be destroyed, but not
    // inside this call.
    virtual void on_ended(Connection& connection) noexcept = 0;

   protected:
    ~ConnectionOwner() = default;
};

class Connection final : public ListLink, StreamHandler {
   public:
    // Requires: all references outlive it; `exports` are what may be asked for.
    Connection(Loop& loop, LogSink& log, ConnectionOwner& owner, std::unique_ptr<Stream> stream,
               const std::vector<Export*>& exports, const ConnectionLimits& limits) noexcept;
    ~Connection();

    // `own_socket`: of the one export.
    void start(bool own_socket) noexcept;
    // Takes nothing any more; ends when what is in flight has come back and been answered.
    void finish() noexcept;
    // The export in use; null before transmission.
    [[nodiscard]] Export* exported() const noexcept { return agreement_.exported; }
    // What it may ask for, as given to the constructor.
    [[nodiscard]] const std::vector<Export*>& offered() const noexcept {
        return negotiation_.exports();
    }
    [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }
    [[nodiscard]] std::size_t held() const noexcept { return held_ + stream_->unsent(); }

   private:
    struct Request final : ExportRequest {
        void on_complete(Status status) noexcept override {
            connection->on_request_complete(*this, status);
        }
        Connection* connection = nullptr;
        RequestPlan plan;
        ReplyTarget target;
        std::size_t cost = 0;
        std::uint32_t contexts_left = 0;  // of block status, not asked for yet
        ByteBuffer chunks;                // of the contexts that have been
    };
    struct Receive final : IoOp {
        void on_complete(Status status, std::size_t count) noexcept override {
            connection->on_received(status, count);
        }
        Connection* connection = nullptr;
    };
    enum class Phase : std::uint8_t { handshake, header, payload, ending, closed };

    // StreamHandler. Never pushed to.
    void on_data(Bytes) noexcept override {}
    void on_closed(Status reason) noexcept override;
    void on_drained() noexcept override;

    // Does what can be done with what has been received, then asks for more.
    void advance() noexcept;
    [[nodiscard]] bool step() noexcept;  // false: nothing can be done now
    bool take_handshake() noexcept;
    bool take_request() noexcept;
    bool take_payload() noexcept;
    // False: not now; nothing has been done.
    bool begin(const RequestHeader& header, const RequestPlan& plan) noexcept;
    void receive() noexcept;
    void on_received(Status status, std::size_t count) noexcept;
    [[nodiscard]] Bytes staged() const noexcept { return {&staging_[begin_], end_ - begin_}; }
    void drop_staged(std::size_t size) noexcept { begin_ += size; }

    // False: on_drained, or the completion of a request, is still to come.
    [[nodiscard]] bool has_room_for(std::size_t cost) noexcept;
    Request& take_idle() noexcept;
    void submit(Request& request) noexcept;
    void submit_next_context(Request& request) noexcept;
    void on_request_complete(Request& request, Status status) noexcept;
    // False: the request goes on with another context.
    bool answer(Request& request, Status status) noexcept;
    void answer_read(Request& request) noexcept;
    void answer_outcome(const RequestPlan& plan, const ReplyTarget& target, Error error,
                        std::string_view message) noexcept;
    void send(Bytes body = {}) noexcept;  // scratch_, then `body`
    void release(Request& request) noexcept;
    void fill_request(Request& request, const RequestPlan& plan) noexcept;

    void check_progress() noexcept;
    void close(std::string_view why) noexcept;
    void check_ended() noexcept;

    Loop& loop_;
    LogSink& log_;
    ConnectionOwner& owner_;
    std::unique_ptr<Stream> stream_;
    ConnectionLimits limits_;
    Negotiation negotiation_;
    Agreement agreement_;
    Phase phase_ = Phase::handshake;

    std::unique_ptr<std::byte[]> staging_;
    std::size_t begin_ = 0, end_ = 0;  // of what is in it
    std::uint64_t to_discard_ = 0;     // of a payload that nobody wants
    Request* filling_ = nullptr;       // whose payload is being received
    std::size_t filled_ = 0;
    Receive receive_op_;
    bool receiving_ = false;
    bool into_payload_ = false;  // what is being received goes there

    std::deque<Request> requests_;
    IntrusiveList<Request> idle_;
    std::size_t in_flight_ = 0;
    std::size_t held_ = 0;
    ByteBuffer scratch_;
    bool advancing_ = false;
    std::string_view end_reason_;
    bool ended_told_ = false;

    Timer watch_;
    Instant last_progress_;
    std::size_t unsent_seen_ = 0;
};

}  // namespace gemel::nbd
