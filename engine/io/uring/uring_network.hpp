// SPDX-License-Identifier: Apache-2.0
// TCP, UDP and sockets with a path through the ring. What the kernel may still write to lives in
// "core" objects, which outlive the handles given to users until the last completion has come.
// Internal to this folder; users get it from UringLoop::network().
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/io/network.hpp"
#include "engine/io/uring/ring.hpp"
#include "engine/io/uring/socket.hpp"

namespace gemel {

class StreamCore;

class UringNetwork final : public Network {
   public:
    explicit UringNetwork(Ring& ring) noexcept : ring_(ring) {}
    ~UringNetwork() override;

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

    // Sends what streams hold back, and tells owners of streams that failed since.
    void flush() noexcept;
    // Whether every handle given out has been destroyed.
    [[nodiscard]] bool is_unused() const noexcept { return handle_count_ == 0; }

    [[nodiscard]] Ring& ring() noexcept { return ring_; }
    // A connected socket becomes a stream.
    std::unique_ptr<Stream> make_stream(Socket socket) noexcept;
    // Has flush() look at it.
    void add_dirty(StreamCore& core) noexcept;

    // One handle that a user holds.
    class HandleCount {
       public:
        explicit HandleCount(UringNetwork& network) noexcept : network_(network) {
            ++network_.handle_count_;
        }
        ~HandleCount() { --network_.handle_count_; }
        HandleCount(const HandleCount&) = delete;
        HandleCount& operator=(const HandleCount&) = delete;

       private:
        UringNetwork& network_;
    };

   private:
    Ring& ring_;
    IntrusiveList<StreamCore> dirty_;
    std::size_t handle_count_ = 0;
};

// Counts who needs a core: its handle, operations in flight, calls under way. The last one deletes.
template <typename Core>
class Reference {
   public:
    explicit Reference(Core& core) noexcept : core_(&core) { ++core.reference_count; }
    Reference(Reference&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    Reference& operator=(Reference&&) = delete;
    ~Reference() {
        if (core_ != nullptr && --core_->reference_count == 0) delete core_;
    }

    Core* operator->() const noexcept { return core_; }
    Core& operator*() const noexcept { return *core_; }

   private:
    Core* core_;
};

}  // namespace gemel
