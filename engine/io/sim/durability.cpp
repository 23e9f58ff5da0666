// SPDX-License-Identifier: Apache-2.0
#include "engine/io/sim/durability.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/checksum.hpp"
#include "engine/io/sim/file_system.hpp"

#include <sys/stat.h>
#include <utility>

namespace gemel::sim {

template <typename Visit>
void MetaLog::for_each_inode(const Op& op, Visit&& visit) {
    if (op.meta_inode != 0) visit(op.meta_inode);
    for (const NameChange& change : op.names) {
        visit(change.directory);
        if (change.before != 0) visit(change.before);
        if (change.after != 0) visit(change.after);
    }
}

MetaLog::Op* MetaLog::find(std::uint64_t sequence) noexcept {
    if (sequence < first_sequence_ || sequence - first_sequence_ >= ops_.size()) return nullptr;
    Op& op = ops_[sequence - first_sequence_];
    return op.done ? nullptr : &op;
}

MetaLog::Op& MetaLog::append() noexcept { return ops_.emplace_back(); }

void MetaLog::rest_on(Op& op, std::uint64_t sequence) noexcept {
    if (find(sequence) != nullptr && find(sequence) != &op) op.rests_on.push_back(sequence);
}

void MetaLog::rest_on_directory_chain(Op& op, std::uint64_t directory, bool whole_chain) noexcept {
    while (directory != 0) {
        const Inode& inode = owner_.inode(directory);
        rest_on(op, inode.last_name_op);
        if (!whole_chain) return;
        directory = inode.directory->parent;
    }
}

// A directory is removed: whatever left it must have left it on disk as well.
void MetaLog::rest_on_emptying(Op& op, std::uint64_t directory) noexcept {
    for (std::size_t i = 0; i < ops_.size(); ++i) {
        for (const NameChange& change : ops_[i].names) {
            if (change.directory == directory) rest_on(op, first_sequence_ + i);
        }
    }
}

void MetaLog::add_names(std::vector<NameChange> changes) noexcept {
    const std::uint64_t sequence = first_sequence_ + ops_.size();
    Op& op = append();
    op.names = std::move(changes);
    for (const NameChange& change : op.names) {
        const std::uint64_t key = checksum64(as_bytes(change.name), change.directory);
        std::uint64_t& last = last_by_name_[key];
        rest_on(op, std::exchange(last, sequence));
        if (change.after != 0) {
            const bool moves_directory = owner_.inode(change.after).directory != nullptr;
            rest_on_directory_chain(op, change.directory, moves_directory);
        }
        if (change.before != 0) {
            const Inode& before = owner_.inode(change.before);
            if (before.directory != nullptr && before.names == 0) {
                rest_on_emptying(op, before.number);
            }
        }
    }
    for (const NameChange& change : op.names) {
        for (const std::uint64_t number : {change.before, change.after}) {
            if (number == 0) continue;
            Inode& inode = owner_.inode(number);
            rest_on(op, inode.last_name_op);
            rest_on(op, inode.last_meta_op);
        }
    }
    for (const NameChange& change : op.names) {
        if (change.before != 0) owner_.inode(change.before).last_name_op = sequence;
        if (change.after != 0) owner_.inode(change.after).last_name_op = sequence;
    }
    for_each_inode(op, [this](std::uint64_t number) { ++owner_.inode(number).log_count; });
}

void MetaLog::add_meta(Inode& inode) noexcept {
    // A change that no operation on a name has built upon yet: both go to disk together.
    const bool again = inode.last_meta_op > inode.last_name_op;
    if (again && find(inode.last_meta_op) != nullptr) return;
    const std::uint64_t sequence = first_sequence_ + ops_.size();
    Op& op = append();
    op.meta_inode = inode.number;
    op.meta_before = inode.meta;
    rest_on(op, inode.last_meta_op);
    inode.last_meta_op = sequence;
    ++inode.log_count;
}

// --- Committing --------------------------------------------------------------------------------

void MetaLog::want(std::uint64_t sequence) noexcept {
    stack_.push_back(sequence);
    while (!stack_.empty()) {
        Op* op = find(stack_.back());
        stack_.pop_back();
        if (op == nullptr || op->wanted) continue;
        op->wanted = true;
        for (const std::uint64_t other : op->rests_on) stack_.push_back(other);
    }
}

void MetaLog::settle(Op& op) noexcept {
    op.done = true;
    for_each_inode(op, [this](std::uint64_t number) {
        --owner_.inode(number).log_count;
        owner_.free_if_gone(number);
    });
    op.names.clear();
    op.meta_before = {};
    op.rests_on.clear();
}

void MetaLog::drop_done() noexcept {
    while (!ops_.empty() && ops_.front().done) {
        ops_.pop_front();
        ++first_sequence_;
    }
    if (ops_.empty()) last_by_name_.clear();
}

void MetaLog::commit_wanted() noexcept {
    for (Op& op : ops_) {
        if (op.wanted && !op.done) settle(op);
    }
    drop_done();
}

void MetaLog::commit_all() noexcept {
    for (Op& op : ops_) op.wanted = true;
    commit_wanted();
}

void MetaLog::commit_inode(const Inode& inode, bool with_names) noexcept {
    want(inode.last_meta_op);
    if (with_names) want(inode.last_name_op);
    commit_wanted();
}

void MetaLog::commit_directory(std::uint64_t directory) noexcept {
    for (std::size_t i = 0; i < ops_.size(); ++i) {
        for (const NameChange& change : ops_[i].names) {
            if (change.directory == directory) want(first_sequence_ + i);
        }
    }
    commit_wanted();
}

void MetaLog::commit_some(Prng& prng) noexcept {
    if (ops_.empty()) return;
    if (prng.one_in(2)) {  // a journal commit up to some point
        const std::uint64_t count = prng.below(ops_.size()) + 1;
        for (std::uint64_t i = 0; i < count; ++i) ops_[i].wanted = true;
    } else {
        want(first_sequence_ + prng.below(ops_.size()));
    }
    commit_wanted();
}

// --- Power cut ---------------------------------------------------------------------------------

void MetaLog::undo(Op& op) noexcept {
    if (op.meta_inode != 0) owner_.inode(op.meta_inode).meta = op.meta_before;
    for (auto change = op.names.rbegin(); change != op.names.rend(); ++change) {
        owner_.undo_name(*change);
    }
}

void MetaLog::power_cut(Prng& prng) noexcept {
    const std::uint64_t kind = prng.below(4);
    if (kind == 1) {
        for (Op& op : ops_) op.wanted = true;
    } else if (kind == 2 && !ops_.empty()) {
        const std::uint64_t count = prng.below(ops_.size() + 1);
        for (std::uint64_t i = 0; i < count; ++i) ops_[i].wanted = true;
    } else if (kind == 3) {
        for (std::uint64_t i = 0; i < ops_.size(); ++i) {
            if (prng.one_in(2)) want(first_sequence_ + i);
        }
    }
    for (auto op = ops_.rbegin(); op != ops_.rend(); ++op) {
        if (!op->done && !op->wanted) undo(*op);
    }
    for (Op& op : ops_) {
        if (!op.done) settle(op);
    }
    drop_done();
    GEMEL_ASSERT(ops_.empty());
}

}  // namespace gemel::sim
