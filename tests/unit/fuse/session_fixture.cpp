// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fuse/session_fixture.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>

namespace gemel::fuse {

namespace {

sim::NodeOptions node_options() {
    sim::NodeOptions options;
    options.name = "a";
    return options;
}

}  // namespace

FakeTransport::Slot& FakeTransport::end(FuseSlot& slot) {
    Slot& own = static_cast<Slot&>(slot);
    EXPECT_TRUE(own.taken) << "answered twice";
    own.taken = false;
    return own;
}

void FakeTransport::answer(FuseSlot& slot, int error, std::span<const Bytes> parts) noexcept {
    InHeader header{};
    std::memcpy(&header, slot.message.data(), sizeof header);
    Answer answer;
    answer.error = error;
    for (const Bytes part : parts) answer.data.append(as_text(part));
    EXPECT_TRUE(answers.emplace(header.unique, std::move(answer)).second);
    end(slot);
}

void FakeTransport::drop(FuseSlot& slot) noexcept {
    end(slot);
    ++dropped;
}

MutableBytes FakeTransport::answer_space(FuseSlot& slot, std::size_t size) noexcept {
    if (space_is_short) return {};
    Slot& own = static_cast<Slot&>(slot);
    own.space.assign(size, std::byte{0});
    return own.space;
}

std::uint64_t FakeTransport::send(const InHeader& header, std::string_view body) {
    const auto found =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.taken; });
    EXPECT_NE(found, slots_.end());
    Slot& slot = *found;
    slot.taken = true;
    InHeader whole = header;
    whole.unique = next_unique_;
    next_unique_ += 2;
    whole.len = static_cast<std::uint32_t>(sizeof whole + body.size());
    EXPECT_LE(whole.len, sizeof slot.request);
    std::memcpy(slot.request, &whole, sizeof whole);
    std::memcpy(slot.request + sizeof whole, body.data(), body.size());
    slot.message = Bytes(slot.request, whole.len);
    receiver_->on_request(slot);
    return whole.unique;
}

void FakeTarget::execute(ClientOp& op) {
    Status status = volume_.prepare(op.op);
    if (status.ok()) status = volume_.execute(op.op);
    executed.push_back(op.op.kind);
    op.on_complete(status);
}

void FakeTarget::submit(ClientOp& op) noexcept {
    if (held) {
        waiting.push_back(&op);
        return;
    }
    loop_.post([this, &op] { execute(op); });
}

void FakeTarget::sync(ClientSync& sync) noexcept {
    synced.push_back(sync.object);
    last_sync_data_only = sync.data_only;
    loop_.post([&sync] { sync.on_complete(Status()); });
}

void FakeTarget::release() {
    held = false;
    for (ClientOp* op : std::exchange(waiting, {})) {
        loop_.post([this, op] { execute(*op); });
    }
}

SessionTest::SessionTest() : node_(world_.add_node(node_options())), loop_(start_node()) {
    const Result<Fd> root = loop_.vfs().open_directory("/volume");
    EXPECT_TRUE(root.ok());
    DirectoryVolume::Options options;
    options.volume_id = Uuid{{42}};
    options.state_directory = "/state";
    Result<std::unique_ptr<DirectoryVolume>> volume =
        DirectoryVolume::open(loop_, log_, root.value(), options);
    EXPECT_TRUE(volume.ok());
    volume_ = std::move(volume).value();
    volume_->set_allotment(7, kFirstObject.value);
    target_ = std::make_unique<FakeTarget>(loop_, *volume_);
}

sim::SimLoop& SessionTest::start_node() {
    node_.make_directories("/volume");
    node_.make_directories("/state");
    return node_.start();
}

SessionTest::~SessionTest() {
    if (session_ == nullptr) return;
    session_->close();
    EXPECT_TRUE(world_.run_until([this] { return ended_; })) << "the session never ended";
    session_.reset();
}

void SessionTest::start(bool read_only) {
    session_ =
        std::make_unique<Session>(loop_, log_, *target_, transport_, SessionOptions{0, read_only});
    session_->start([this](Status) { ended_ = true; });
}

Answer SessionTest::init(std::uint32_t minor, std::uint64_t flags) {
    const std::uint32_t words[16] = {7, minor, 131072, static_cast<std::uint32_t>(flags),
                                     static_cast<std::uint32_t>(flags >> 32)};
    return send(Opcode::init, 0, raw(words));
}

std::uint64_t SessionTest::begin(Opcode opcode, std::uint64_t node, std::string_view body,
                                 std::uint32_t uid) {
    InHeader header{};
    header.opcode = static_cast<std::uint32_t>(opcode);
    header.nodeid = node;
    header.uid = uid;
    header.gid = uid;
    return transport_.send(header, body);
}

Answer SessionTest::wait_for(std::uint64_t unique) {
    EXPECT_TRUE(world_.run_until([&] { return is_answered(unique); })) << "never answered";
    return transport_.answers[unique];
}

Answer SessionTest::send(Opcode opcode, std::uint64_t node, std::string_view body,
                         std::uint32_t uid) {
    return wait_for(begin(opcode, node, body, uid));
}

std::uint64_t SessionTest::make_file(std::string_view file, std::string_view content,
                                     std::uint32_t mode) {
    const CreateIn in{O_RDWR, S_IFREG | mode, 0, 0};
    const Answer made = send(Opcode::create, kRootNode, raw(in) + name(file));
    EXPECT_EQ(made.error, 0);
    const std::uint64_t node = made.as<EntryOut>().nodeid;
    if (!content.empty()) {
        WriteIn write{};
        write.size = static_cast<std::uint32_t>(content.size());
        EXPECT_EQ(send(Opcode::write, node, raw(write) + std::string(content)).error, 0);
    }
    EXPECT_EQ(send(Opcode::release, node, raw(ReleaseIn{})).error, 0);
    return node;
}

}  // namespace gemel::fuse
