// SPDX-License-Identifier: Apache-2.0
// The handshake of one client, fixed newstyle, as a state machine without any I/O: bytes of the
// client go in, replies come out, until an export has been chosen or the client is sent away.
//
// Every option is answered as the protocol document says ("Option types"); one that is malformed,
// too long, unknown or refused changes nothing and haggling goes on. What ends it at once: a client
// flag or a magic number that does not exist, ABORT, and an EXPORT_NAME that cannot be had (the
// protocol has no answer for that).
#pragma once

#include "frontends/nbd/export.hpp"
#include "frontends/nbd/protocol.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace gemel::nbd {

// Metadata contexts by bit; the ids that clients know them by are these numbers.
enum ContextSet : std::uint32_t { kAllocationContext = 1, kDirtyContext = 2 };

// What holds for the transmission phase.
struct Agreement {
    Export* exported = nullptr;
    bool structured = false;  // replies to reads come in chunks; true with extended, too
    bool extended = false;
    std::uint32_t contexts = 0;
};

// The flags of the transmission phase as an export offers them under what was agreed on.
std::uint16_t transmission_flags(const Agreement& agreement) noexcept;

class Negotiation {
   public:
    enum class State : std::uint8_t { haggling, transmission, ended };
    // Longest data of an option that is looked at: names and queries are at most 4096 bytes.
    static constexpr std::size_t kOptionDataMax = 32 * 1024;
    static constexpr std::size_t kInputMax = kOptionHeaderSize + kOptionDataMax;

    // Requires: `exports` outlives it; may change between two calls.
    explicit Negotiation(const std::vector<Export*>& exports) noexcept : exports_(exports) {}

    // The export has the socket to itself: its name there is what follows the last slash, and the
    // whole one is understood.
    void use_short_names() noexcept { short_names_ = true; }
    // What the server says first.
    void greet(ByteBuffer& replies);
    // Takes at most one message from the front of `input`, appends the replies to it, and returns
    // how many bytes it took; 0: more are needed (never, if input.size() >= kInputMax). Requires:
    // state() is haggling.
    std::size_t take(Bytes input, ByteBuffer& replies);
    [[nodiscard]] State state() const noexcept { return state_; }
    // Requires: state() is transmission.
    [[nodiscard]] const Agreement& agreement() const noexcept { return agreement_; }
    [[nodiscard]] const std::vector<Export*>& exports() const noexcept { return exports_; }
    // Why it has ended without an export, for the log; empty if the client wanted it to.
    [[nodiscard]] std::string_view reason() const noexcept { return reason_; }

   private:
    void end(std::string_view reason) noexcept;
    void take_flags(Bytes input) noexcept;
    std::size_t take_option(Bytes input, ByteBuffer& replies);
    void answer(Bytes data, ByteBuffer& replies);
    void choose_by_name(std::string_view name, ByteBuffer& replies);
    void list(Bytes data, ByteBuffer& replies);
    void inform(Bytes data, ByteBuffer& replies);
    void switch_structured(Bytes data, ByteBuffer& replies);
    void switch_extended(Bytes data, ByteBuffer& replies);
    void query_contexts(Bytes data, ByteBuffer& replies);
    void send_contexts(std::uint32_t contexts, ByteBuffer& replies);
    // The export of this name, if it may be used; else the option has been answered.
    Export* find(std::string_view name, ByteBuffer& replies);
    [[nodiscard]] Export* find(std::string_view name) const noexcept;
    [[nodiscard]] std::string name_of(const Export& exported) const;
    void reply(OptionReply type, Bytes data, ByteBuffer& replies) const;
    void refuse(OptionReply type, std::string_view text, ByteBuffer& replies) const;

    const std::vector<Export*>& exports_;
    State state_ = State::haggling;
    Agreement agreement_;
    Export* contexts_of_ = nullptr;  // the export that agreement_.contexts were chosen for
    bool short_names_ = false;
    bool has_flags_ = false;
    bool no_zeroes_ = false;
    Option option_{};               // being answered
    std::uint64_t to_discard_ = 0;  // of an option that is too long
    std::string_view reason_;
};

}  // namespace gemel::nbd
