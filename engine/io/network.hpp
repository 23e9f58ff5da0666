// SPDX-License-Identifier: Apache-2.0
// Byte streams (TCP, and sockets of this machine that have a path) and datagrams (UDP). All on one
// loop's thread; handlers are called from the loop only, never inside a call of theirs.
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"
#include "engine/base/units.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace gemel {

class IoOp;

// An IPv4 or IPv6 address with a port; texts "10.0.0.1:7800", "[fd00::1]:7800".
struct SocketAddress {
    bool is_v6 = false;
    std::array<std::uint8_t, 16> ip{};  // network order; IPv4 in the first four bytes
    std::uint16_t port = 0;

    // Numeric addresses only (names would make a failover wait for a resolver).
    static Result<SocketAddress> parse(std::string_view text) noexcept;
    [[nodiscard]] std::string to_string() const;
    friend auto operator<=>(const SocketAddress&, const SocketAddress&) noexcept = default;
};

class StreamHandler {
   public:
    // `data` is valid during the call only. Not called for a stream that is pulled.
    virtual void on_data(Bytes data) noexcept = 0;
    // The stream is closed, by the other side or an error; nothing follows. Not called after the
    // owner's own Stream::close.
    virtual void on_closed(Status reason) noexcept = 0;
    // Bytes that the kernel had not taken before are gone; called when unsent() falls to zero.
    virtual void on_drained() noexcept {}

   protected:
    ~StreamHandler() = default;
};

// A connected stream. Destroying it closes it.
//
// When the other machine's kernel does not take what was sent, the stream ends by itself with
// ETIMEDOUT, after two minutes at the latest. One on which nothing is sent notices nothing.
class Stream {
   public:
    virtual ~Stream() = default;
    // Requires: called before the loop's next turn after the stream was handed over, and the
    // handler outlives the stream or its close().
    virtual void set_handler(StreamHandler& handler) noexcept = 0;
    // The same, for an owner that says when bytes may come, and where to: nothing is taken from the
    // kernel but by receive(), so who sends too much has to wait.
    virtual void set_pulling_handler(StreamHandler& handler) noexcept = 0;
    // Completes with 1 to buffer.size() bytes; with `disconnected` or an error when there are none
    // any more, on_closed follows then; with `cancelled` after close(). Completes exactly once,
    // from the loop, also when the stream has been destroyed meanwhile: `op` and `buffer` must last
    // until then. `whole`: a full buffer is wanted, a hint. Requires: set_pulling_handler, buffer
    // not empty, no other receive under way.
    virtual void receive(IoOp& op, MutableBytes buffer, bool whole) noexcept = 0;
    // Queues both parts in order (copied, or taken by the kernel at once); handed to the kernel at
    // flush() or at the end of the loop's turn, whichever comes first.
    virtual void send(Bytes head, Bytes body) noexcept = 0;
    virtual void flush() noexcept = 0;
    // Bytes queued that the kernel has not taken yet.
    [[nodiscard]] virtual std::size_t unsent() const noexcept = 0;
    virtual void close() noexcept = 0;
    // Of a stream through a path: 0.0.0.0, port 0.
    [[nodiscard]] virtual SocketAddress remote() const noexcept = 0;
};

class ListenerHandler {
   public:
    virtual void on_accepted(std::unique_ptr<Stream> stream) noexcept = 0;

   protected:
    ~ListenerHandler() = default;
};
class Listener {
   public:
    virtual ~Listener() = default;  // stops listening
};

class ConnectHandler {
   public:
    virtual void on_connected(std::unique_ptr<Stream> stream) noexcept = 0;
    virtual void on_connect_failed(Status reason) noexcept = 0;

   protected:
    ~ConnectHandler() = default;
};
class Connecting {
   public:
    virtual ~Connecting() = default;  // gives up an attempt still under way, without a call
};

class DatagramHandler {
   public:
    virtual void on_datagram(const SocketAddress& from, Bytes data) noexcept = 0;

   protected:
    ~DatagramHandler() = default;
};
class DatagramSocket {
   public:
    virtual ~DatagramSocket() = default;
    // Best effort: may be lost, also silently.
    virtual void send(const SocketAddress& to, Bytes data) noexcept = 0;
};

class Network {
   public:
    virtual ~Network() = default;
    // EADDRINUSE, EADDRNOTAVAIL, ...
    virtual Result<std::unique_ptr<Listener>> listen(const SocketAddress& local,
                                                     ListenerHandler& handler) noexcept = 0;
    // A socket of this machine at an absolute path, for its owner alone (mode 0600), gone with the
    // Listener. A socket there that nobody listens on any more is replaced. EADDRINUSE: somebody
    // listens there, or it is no socket; ENAMETOOLONG: the path has more than 107 bytes.
    virtual Result<std::unique_ptr<Listener>> listen_local(std::string_view path,
                                                           ListenerHandler& handler) noexcept = 0;
    // As connect(). ENOENT or ECONNREFUSED: nobody listens there.
    virtual std::unique_ptr<Connecting> connect_local(std::string_view path,
                                                      ConnectHandler& handler) noexcept = 0;
    // `local`: the address to connect from (its port is ignored), or null for the kernel's choice.
    // Exactly one call of the handler, from the loop. It does not time out by itself.
    virtual std::unique_ptr<Connecting> connect(const SocketAddress& remote,
                                                const SocketAddress* local,
                                                ConnectHandler& handler) noexcept = 0;
    virtual Result<std::unique_ptr<DatagramSocket>> bind_datagram(
        const SocketAddress& local, DatagramHandler& handler) noexcept = 0;
};

}  // namespace gemel
