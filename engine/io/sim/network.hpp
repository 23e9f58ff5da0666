// SPDX-License-Identifier: Apache-2.0
// The Network of one simulated process: handles on what the Fabric moves. Everything may still be
// destroyed after the process was killed, and does nothing then.
#pragma once

#include "engine/io/network.hpp"
#include "engine/io/sim/fabric.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace gemel::sim {

class SimNetwork final : public Network {
   public:
    explicit SimNetwork(SimLoop& loop) noexcept;

    Result<std::unique_ptr<Listener>> listen(const SocketAddress& local,
                                             ListenerHandler& handler) noexcept override;
    std::unique_ptr<Connecting> connect(const SocketAddress& remote, const SocketAddress* local,
                                        ConnectHandler& handler) noexcept override;
    Result<std::unique_ptr<Listener>> listen_local(std::string_view path,
                                                   ListenerHandler& handler) noexcept override;
    std::unique_ptr<Connecting> connect_local(std::string_view path,
                                              ConnectHandler& handler) noexcept override;
    Result<std::unique_ptr<DatagramSocket>> bind_datagram(
        const SocketAddress& local, DatagramHandler& handler) noexcept override;

    // --- For the parts of the simulation -----------------------------------------------------
    void mark_dirty(std::uint64_t connection, int side) noexcept;
    // The end of a turn.
    void flush_all() noexcept;
    void process_died() noexcept;
    [[nodiscard]] SimLoop& loop() noexcept { return loop_; }
    [[nodiscard]] Fabric& fabric() noexcept { return fabric_; }

   private:
    Status check_local(const SocketAddress& local) noexcept;

    SimLoop& loop_;
    Node& node_;
    Fabric& fabric_;
    struct Dirty {
        std::uint64_t connection;
        int side;
    };
    std::vector<Dirty> dirty_;
};

class SimStream final : public Stream {
   public:
    SimStream(SimNetwork& network, std::uint64_t connection, int side,
              const SocketAddress& remote) noexcept
        : network_(network),
          fabric_(network.fabric()),
          connection_(connection),
          side_(side),
          remote_(remote) {}
    ~SimStream() override;

    void set_handler(StreamHandler& handler) noexcept override;
    void set_pulling_handler(StreamHandler& handler) noexcept override;
    void receive(IoOp& op, MutableBytes buffer, bool whole) noexcept override;
    void send(Bytes head, Bytes body) noexcept override;
    void flush() noexcept override;
    [[nodiscard]] std::size_t unsent() const noexcept override;
    void close() noexcept override;
    [[nodiscard]] SocketAddress remote() const noexcept override {
        return Fabric::is_local(remote_) ? SocketAddress() : remote_;
    }

   private:
    friend class Fabric;
    // Whether bytes that have arrived can be given to the process.
    [[nodiscard]] bool wants_data() const noexcept { return !pulls_ || receive_ != nullptr; }
    // The receive under way, if any, ends without bytes.
    void end_receive(Status reason) noexcept;
    // Null when this end is not open any more.
    [[nodiscard]] Fabric::Connection* open_connection() const noexcept;

    SimNetwork& network_;
    Fabric& fabric_;
    std::uint64_t connection_;
    int side_;
    SocketAddress remote_;
    StreamHandler* handler_ = nullptr;
    bool pulls_ = false;
    IoOp* receive_ = nullptr;
    MutableBytes receive_buffer_;
};

class SimListener final : public Listener {
   public:
    SimListener(SimNetwork& network, const SocketAddress& local, ListenerHandler& handler) noexcept;
    ~SimListener() override;

   private:
    friend class Fabric;
    friend class SimNetwork;
    Fabric& fabric_;
    Node& node_;
    SimLoop& loop_;
    SocketAddress local_;
    ListenerHandler& handler_;
};

class SimConnecting final : public Connecting {
   public:
    explicit SimConnecting(Fabric& fabric) noexcept : fabric_(fabric) {}
    ~SimConnecting() override;

   private:
    friend class Fabric;
    friend class SimNetwork;
    Fabric& fabric_;
    std::uint64_t attempt_ = 0;  // 0: over
};

class SimDatagramSocket final : public DatagramSocket {
   public:
    SimDatagramSocket(SimNetwork& network, const SocketAddress& local,
                      DatagramHandler& handler) noexcept;
    ~SimDatagramSocket() override;
    void send(const SocketAddress& to, Bytes data) noexcept override;

   private:
    friend class Fabric;
    friend class SimNetwork;
    Fabric& fabric_;
    Node& node_;
    SimLoop& loop_;
    SocketAddress local_;
    DatagramHandler& handler_;
};

}  // namespace gemel::sim
