// SPDX-License-Identifier: Apache-2.0
// The sizes of block volumes on both nodes of a mirror (docs/block.md). A size is replicated as
// content is: the serving node's counts.
//
// Invariant: while ops are shipped, the peer's volume has the size of this node's or is larger. So
// the peer grows first, and the serving node, whose size is what clients see, when it has said so;
// a target takes the source's size, a smaller one too, before anything else of the session.
#pragma once

#include "engine/mirror/replica_context.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace gemel {

class Sizes {
   public:
    // `go_on`: the frames of a session that waited for a size may be processed.
    Sizes(ReplicaContext& context, std::function<void()> go_on) noexcept
        : context_(context), go_on_(std::move(go_on)) {}

    // --- Serving. replica.hpp has grow().
    void grow(std::uint16_t volume, std::uint64_t size,
              std::function<void(Status, std::string)> done) noexcept;
    // A session with a target has begun.
    void tell_all() noexcept;
    Status on_resized(Bytes payload) noexcept;

    // --- Following. Errors: corrupt.
    Status on_resize(Bytes payload, std::function<void(Status, const std::string&)> fail) noexcept;
    // A target may not look at content, or take any, before it has the size.
    [[nodiscard]] bool is_adopting() const noexcept { return adopting_ > 0; }

    // The session is over, or the role.
    void reset() noexcept;

   private:
    struct Growth {
        std::uint16_t volume = 0;
        std::uint64_t size = 0;
        std::function<void(Status, std::string)> done;
        bool with_peer = false;
        bool peer_has_it = false;
    };

    void send(FrameType type, std::uint16_t volume, std::uint64_t size,
              const std::string& refusal) noexcept;
    void grow_here() noexcept;
    void finish(Status status, const std::string& text) noexcept;

    ReplicaContext& context_;
    std::function<void()> go_on_;
    std::optional<Growth> growth_;
    std::uint64_t session_ = 0;  // tells late callbacks of an earlier one
    std::size_t adopting_ = 0;   // volumes of this session whose size is being prepared
};

}  // namespace gemel
