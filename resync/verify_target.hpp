// SPDX-License-Identifier: Apache-2.0
// The following node's part in a verify (docs/verify.md): says of each unit, in stream order,
// whether it is the same here, and what it is here. It changes nothing and decides nothing.
//
// Use: Replica::set_verify_party(make_unique<VerifyTarget>(...)) on each session that it follows.
#pragma once

#include "engine/mirror/replica.hpp"
#include "resync/verify_messages.hpp"

#include <memory>

namespace gemel {

class VerifyTarget final : public ResyncParty {
   public:
    // Requires: both outlive it.
    VerifyTarget(Loop& loop, Replica& replica) noexcept : loop_(loop), replica_(replica) {}
    ~VerifyTarget() override;

    Status intents_of(FrameType, Bytes, IntentSet&) noexcept override { return Status(); }
    [[nodiscard]] bool is_ready(FrameType type, Bytes payload) noexcept override;
    Status on_frame(FrameType type, Bytes payload) noexcept override;
    void on_progress() noexcept override {}
    void on_session_lost() noexcept override {}

   private:
    Result<bool> is_equal(const VerifyUnit& unit) noexcept;
    Result<bool> has_names(DirectoryVolume& volume, const VerifyUnit& unit) noexcept;
    Result<bool> has_entry(DirectoryVolume& volume, const VerifyUnit& unit) noexcept;
    Result<bool> has_content(const VerifyUnit& unit) noexcept;
    Result<bool> has_hole(const VerifyUnit& unit) noexcept;
    Status on_check(const VerifyCheck& check) noexcept;
    Status on_question(const VerifyCheck& check) noexcept;
    Status answer_entry(const VerifyUnit& unit, VerifyReply& reply) noexcept;
    Status answer_content(const VerifyUnit& unit, VerifyReply& reply) noexcept;
    Status answer_listing(const VerifyUnit& unit, VerifyReply& reply) noexcept;
    void send(FrameType type) noexcept;
    // Something could not be read: of a failing disk, the owner is told.
    void note_failure(Status status) noexcept;

    Loop& loop_;
    Replica& replica_;
    Chunk chunk_;
    ByteBuffer description_;           // of the reply under way, as are
    std::vector<ListedEntry> listed_;  // these
    ByteBuffer frame_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
