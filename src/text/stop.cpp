#include "text/stop.h"

#include <algorithm>

namespace nibble::text {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : stops_(std::move(stops)), include_stop_(include_stop), nodes_(1) {
    for (size_t i = 0; i < stops_.size(); i++) {
        if (stops_[i].empty()) continue;
        uint32_t at = 0;
        for (const char c : stops_[i]) {
            const auto byte = static_cast<unsigned char>(c);
            auto& children = nodes_[at].children;
            const auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, 0u});
            if (place != children.end() && place->first == byte) {
                at = place->second;
                continue;
            }
            const auto fresh = static_cast<uint32_t>(nodes_.size());
            children.insert(place, {byte, fresh});
            nodes_.push_back({.depth = nodes_[at].depth + 1});
            at = fresh;
        }
        if (nodes_[at].stop < 0) nodes_[at].stop = static_cast<int>(i);
    }
    for (const auto& [byte, node] : nodes_[0].children) from_root_[byte] = node;
    // Breadth first: a node's fallback is nearer to the root than the node.
    std::vector<uint32_t> order = {0};
    for (size_t i = 0; i < order.size(); i++) {
        for (const auto& [byte, node] : nodes_[order[i]].children) {
            order.push_back(node);
            if (order[i] != 0) nodes_[node].fallback = step(nodes_[order[i]].fallback, byte);
            if (nodes_[node].stop < 0) nodes_[node].stop = nodes_[nodes_[node].fallback].stop;
        }
    }
}

uint32_t StopMatcher::child(uint32_t node, unsigned char byte) const {
    if (node == 0) return from_root_[byte];
    const auto& children = nodes_[node].children;
    const auto place = std::lower_bound(children.begin(), children.end(), std::pair{byte, 0u});
    return place != children.end() && place->first == byte ? place->second : 0;
}

uint32_t StopMatcher::step(uint32_t node, unsigned char byte) const {
    while (true) {
        if (const uint32_t next = child(node, byte)) return next;
        if (node == 0) return 0;
        node = nodes_[node].fallback;
    }
}

StopMatcher::Piece StopMatcher::push(std::string_view text) {
    if (stopped_.stopped) return stopped_;
    Piece piece;
    // The first `size` bytes of what was held back and the new text.
    const auto show = [&](size_t size) {
        piece.text.append(held_, 0, std::min(size, held_.size()));
        if (size > held_.size()) piece.text.append(text.substr(0, size - held_.size()));
    };
    for (size_t i = 0; i < text.size(); i++) {
        at_ = step(at_, static_cast<unsigned char>(text[i]));
        const int stop = nodes_[at_].stop;
        if (stop < 0) continue;
        const size_t end = held_.size() + i + 1;
        show(include_stop_ ? end : end - stops_[stop].size());
        piece.stopped = stopped_.stopped = true;
        piece.stop_index = stopped_.stop_index = stop;
        return piece;
    }
    const size_t depth = nodes_[at_].depth;
    show(held_.size() + text.size() - depth);
    held_.append(text);
    held_.erase(0, held_.size() - depth);
    return piece;
}

std::string StopMatcher::flush() {
    std::string rest = stopped_.stopped ? std::string() : std::move(held_);
    held_.clear();
    stopped_ = {};
    at_ = 0;
    return rest;
}

}  // namespace nibble::text
