// SPDX-License-Identifier: Apache-2.0
// Doubly linked list whose links live in its elements: no allocation, O(1) removal. An element is
// in at most one list for each ListLink it has; the list never owns it.
#pragma once

#include "engine/base/assert.hpp"

#include <cstddef>

namespace gemel {

struct ListLink {
    ListLink* previous = nullptr;
    ListLink* next = nullptr;

    ListLink() noexcept = default;
    ListLink(const ListLink&) = delete;
    ListLink& operator=(const ListLink&) = delete;
    ~ListLink() { GEMEL_ASSERT(!is_linked()); }

    [[nodiscard]] bool is_linked() const noexcept { return next != nullptr; }
    // Requires: is_linked().
    void unlink() noexcept {
        GEMEL_ASSERT(is_linked());
        previous->next = next;
        next->previous = previous;
        previous = next = nullptr;
    }
};

// T derives from ListLink (publicly, once).
template <typename T>
class IntrusiveList {
   public:
    IntrusiveList() noexcept { head_.previous = head_.next = &head_; }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;
    ~IntrusiveList() {
        GEMEL_ASSERT(empty());
        head_.previous = head_.next = nullptr;
    }

    [[nodiscard]] bool empty() const noexcept { return head_.next == &head_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    // First element, or null when empty.
    [[nodiscard]] T* front() const noexcept {
        return empty() ? nullptr : static_cast<T*>(head_.next);
    }
    // Element after `item`, or null at the end.
    [[nodiscard]] T* next(const T& item) const noexcept {
        ListLink* link = static_cast<const ListLink&>(item).next;
        return link == &head_ ? nullptr : static_cast<T*>(link);
    }
    void push_back(T& item) noexcept { insert_before(item, head_); }
    void push_front(T& item) noexcept { insert_before(item, *head_.next); }
    void remove(T& item) noexcept {
        static_cast<ListLink&>(item).unlink();
        --size_;
    }
    T* pop_front() noexcept {
        T* item = front();
        if (item != nullptr) remove(*item);
        return item;
    }

   private:
    void insert_before(T& item, ListLink& position) noexcept {
        ListLink& link = item;
        GEMEL_ASSERT(!link.is_linked());
        link.previous = position.previous;
        link.next = &position;
        position.previous->next = &link;
        position.previous = &link;
        ++size_;
    }

    ListLink head_;
    std::size_t size_ = 0;
};

}  // namespace gemel
