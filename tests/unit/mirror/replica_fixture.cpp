// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/mirror/replica_fixture.hpp"

#include <sys/stat.h>

namespace gemel::mirror_test {

namespace {

class SessionEnd final : public PeerLink {
   public:
    explicit SessionEnd(std::shared_ptr<Session> session) : session_(std::move(session)) {}
    void send(FrameType type, Bytes head, Bytes body) noexcept override {
        SentFrame frame{type, ByteBuffer(head.begin(), head.end())};
        frame.payload.insert(frame.payload.end(), body.begin(), body.end());
        session_->sent.push_back(std::move(frame));
    }
    void flush() noexcept override { session_->flushed = session_->sent.size(); }
    std::size_t unsent() const noexcept override { return session_->unsent; }
    void close() noexcept override {
        session_->closed = true;
        session_->handler = nullptr;
    }
    void set_handler(PeerLinkHandler& handler) noexcept override { session_->handler = &handler; }

   private:
    std::shared_ptr<Session> session_;
};

}  // namespace

std::size_t Session::count(FrameType type) const {
    std::size_t number = 0;
    for (const SentFrame& frame : sent) number += frame.type == type ? 1 : 0;
    return number;
}

std::vector<DecodedOp> Session::ops() const {
    std::vector<DecodedOp> ops;
    for (const SentFrame& frame : sent) {
        if (frame.type != FrameType::op) continue;
        Result<DecodedOp> op = decode_op(frame.payload);
        EXPECT_TRUE(op.ok());
        if (op.ok()) ops.push_back(std::move(op).value());
    }
    return ops;
}

void ReplicaTest::SetUp() {
    world_ = std::make_unique<sim::World>(1);
    side_ = std::make_unique<Side>(*world_, "a");
    side_->block_size = block_size_;
    side_->replica_options = options_;
    side_->open(Uuid{{7, 7, 7}});
    side_->node.set_fault_policy(&disk_);
    session_ = std::make_shared<Session>();
}

void ReplicaTest::TearDown() {
    disk_.on_call = nullptr;  // it looks at what the test has left
    side_.reset();
    world_.reset();
}

void ReplicaTest::settle() { world_->run_for(Duration::milliseconds(200)); }

ObjectId ReplicaTest::make_file(std::string_view name, std::string_view content) {
    auto create = std::make_unique<TestOp>();
    create->op.kind = OpKind::create;
    create->op.parent = kRootObject;
    create->op.mode = S_IFREG | 0644;
    create->name = name;
    const TestOp& created = submit(std::move(create));
    settle();
    EXPECT_TRUE(created.done && created.outcome.ok());
    const ObjectId object = created.op.object;
    if (!content.empty()) submit_write(object, 0, std::string(content));
    settle();
    dirty() = DirtyMap();
    return object;
}

void ReplicaTest::become_alone() {
    replica().begin_alone(5);
    settle();
}

void ReplicaTest::attach() {
    replica().attach_target(std::make_unique<SessionEnd>(session_));
    replica().start_shipping();
}

void ReplicaTest::become_primary() {
    attach();
    replica().begin_attaching();
    replica().finish_attaching(true);
    // The round that begins with it.
    world_->run_for(Duration::milliseconds(5));
    receive_number(FrameType::round_synced, decode_number(session_->sent.back().payload).value());
    world_->run_for(Duration::milliseconds(5));
    session_->sent.clear();
}

void ReplicaTest::become_secondary(bool as_target) {
    replica().begin_following(std::make_unique<SessionEnd>(session_), as_target);
}

TestOp& ReplicaTest::submit(std::unique_ptr<TestOp> op) {
    TestOp& submitted = *op;
    submitted.op.name = submitted.name;
    submitted.op.new_name = submitted.new_name;
    submitted.op.data = as_bytes(submitted.data);
    ops_.push_back(std::move(op));
    replica().submit(submitted);
    return submitted;
}

TestOp& ReplicaTest::submit_write(ObjectId object, std::uint64_t offset, std::string data) {
    auto op = std::make_unique<TestOp>();
    op->op.kind = OpKind::write;
    op->op.object = object;
    op->op.offset = offset;
    op->op.size = data.size();
    op->data = std::move(data);
    return submit(std::move(op));
}

TestSync& ReplicaTest::submit_sync(ObjectId object, bool data_only) {
    syncs_.push_back(std::make_unique<TestSync>());
    TestSync& sync = *syncs_.back();
    sync.object = object;
    sync.data_only = data_only;
    replica().sync(sync);
    return sync;
}

void ReplicaTest::run_rounds(int seconds) {
    for (int i = 0; i < seconds; ++i) {
        world_->run_for(Duration::seconds(1));
        std::uint64_t round = 0;
        for (const SentFrame& frame : session_->sent) {
            if (frame.type == FrameType::round) round = decode_number(frame.payload).value();
        }
        if (round != 0) receive_number(FrameType::round_synced, round);
    }
}

void ReplicaTest::receive(FrameType type, Bytes payload) {
    ASSERT_NE(session_->handler, nullptr) << "the session is over";
    session_->handler->on_frame(type, payload);
}

void ReplicaTest::receive_number(FrameType type, std::uint64_t number) {
    ByteBuffer payload;
    encode_number(number, payload);
    receive(type, payload);
}

void ReplicaTest::receive_op(const Op& op, std::uint64_t number) {
    ByteBuffer payload;
    encode_op(op, number, payload);
    payload.insert(payload.end(), op.data.begin(), op.data.end());
    receive(FrameType::op, payload);
}

void ReplicaTest::lose_session() {
    ASSERT_NE(session_->handler, nullptr);
    session_->handler->on_lost(Status(Code::disconnected));
}

std::string ReplicaTest::acks() {
    std::string numbers;
    for (const SentFrame& frame : session_->sent) {
        if (frame.type != FrameType::ack) continue;
        if (!numbers.empty()) numbers += ' ';
        numbers += std::to_string(decode_number(frame.payload).value());
    }
    return numbers;
}

std::string ReplicaTest::content(ObjectId object) {
    Vfs& vfs = side_->loop->vfs();
    const Result<Fd> fd = side_->volume().data_fd(object);
    if (!fd.ok()) return "no file";
    ByteBuffer bytes(vfs.stat(fd.value())->size);
    EXPECT_TRUE(vfs.pread(fd.value(), bytes, 0).ok());
    return std::string(as_text(bytes));
}

std::uint64_t ReplicaTest::inode_of(ObjectId object) {
    return side_->loop->vfs().stat(side_->volume().data_fd(object).value())->inode;
}

Op write_op(ObjectId object, std::uint64_t offset, std::string_view data) {
    Op op;
    op.kind = OpKind::write;
    op.object = object;
    op.offset = offset;
    op.size = data.size();
    op.data = as_bytes(data);
    op.modified = WallTime{1'000'000'000};
    return op;
}

}  // namespace gemel::mirror_test
