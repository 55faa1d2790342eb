-- Settling: the true cost of a charge made on an estimate (core: engine/settle.rs).

-- For so long after its charge a receipt can be topped up (SETTLE_WITHIN in core).
local SETTLE_WITHIN = 86400000000

-- The whole units of a bucket that are free, of a missing time.
local function units_in(free, free_fraction, unit, unit_fraction, denominator, burst)
    local units = min(floor((free + free_fraction / denominator) / (unit + unit_fraction / denominator)), burst)
    local function fits(count)
        local span, rest = span_of(count, unit, unit_fraction, denominator)
        return span < free or (span == free and rest <= free_fraction)
    end
    while units > 0 and not fits(units) do
        units = units - 1
    end
    while units < burst and fits(units + 1) do
        units = units + 1
    end
    return units
end

-- What remains of an item's limit: the most that a charge of it may cost now.
local function remaining(key, item, now)
    local letter, old = letter_of(item), state_of(key, now)
    local quota = quota_and_cost(item)
    if sub(old, 1, 8) ~= sub(item, 1, 8) then
        return quota
    end
    if letter == 'S' then
        local tick, ticks = unpack('<dd', item, 33)
        local start, gross, refunded, gross_before, refunded_before, _, window = unpack('<ddddddd', old, 25)
        local used, used_before, elapsed = gross - refunded, gross_before - refunded_before, now - start
        if -elapsed > window or elapsed - window >= window then
            return quota
        elseif elapsed >= window then
            used, used_before, elapsed = 0, used, elapsed - window
        end
        local weighted = used_before * (ticks - floor(max(elapsed, 0) / tick))
        return max(floor(max(quota * ticks - weighted, 0) / ticks) - used, 0)
    elseif letter == 'B' then
        local _, burst, _, unit_parts, denominator, span, span_fraction, _, _, adopted = unpack('<dddddddddd', item)
        local tat, fraction, _, old_burst, old_parts, old_denominator = unpack('<dddddd', old, 17)
        if tat < now or (tat == now and fraction == 0) then
            return burst
        end
        if old_parts ~= unit_parts or old_denominator ~= denominator then
            -- Told at the rate at which it refills, by the caller.
            return adopted > 0 and sub(item, 81, 160) == sub(old, 1, 80) and (unpack('<d', item, 193)) or 1
        end
        local time = time_behind(tat, old_burst, unit_parts, denominator, now)
        if not time then
            return burst
        end
        local unit, unit_fraction = unit_of(unit_parts, denominator)
        local free, free_fraction = minus(span, span_fraction, tat - time, fraction, denominator)
        return units_in(free, free_fraction, unit, unit_fraction, denominator, burst)
    elseif letter == 'L' or letter == 'C' then
        return max(quota - look_at_entries(key, old, now, quota, 1), 0)
    end
    local start, finish, gross, refunded = unpack('<dddd', old, 17)
    if now >= finish or (now < start and start - now > finish - start) then
        return quota
    end
    return max(quota - (gross - refunded), 0)
end

-- What is known of a count's topped-up receipts: { floor or false, receipts }, each receipt { instance, last, charged at,
-- parts }, each part { number of the part it tops up, instance, last, cost, given back, its policy's text }. What is too old
-- is left out.
local function read_top_ups(key, now)
    local bytes = call('GET', key)
    local top_ups = bytes and cmsgpack.unpack(bytes) or { false, {} }
    if top_ups[1] and top_ups[1] + SETTLE_WITHIN <= now then
        top_ups[1] = false
    end
    local receipts = {}
    for _, receipt in ipairs(top_ups[2]) do
        if receipt[3] + SETTLE_WITHIN > now then
            receipts[#receipts + 1] = receipt
        end
    end
    top_ups[2] = receipts
    return top_ups
end

local function write_top_ups(key, top_ups, now, grace)
    local latest = top_ups[1] or 0
    for _, receipt in ipairs(top_ups[2]) do
        latest = max(latest, receipt[3])
    end
    if latest == 0 and #top_ups[2] == 0 then
        call('DEL', key)
    else
        call('SET', key, cmsgpack.pack(top_ups), 'PX', ceil(max(latest + SETTLE_WITHIN - now + grace, 1000) / 1000))
    end
end

-- Notes a receipt's first top-up; past the bound the one charged first is forgotten.
local function remember(top_ups, receipt)
    local receipts = top_ups[2]
    receipts[#receipts + 1] = receipt
    if #receipts > REMEMBERED then
        local oldest = 1
        for at = 2, #receipts do
            if receipts[at][3] < receipts[oldest][3] then
                oldest = at
            end
        end
        local forgotten = table.remove(receipts, oldest)
        top_ups[1] = max(top_ups[1] or 0, forgotten[3])
    end
end

-- The units of a part that were not given back, as far as count and receipt know.
local function held_by(key, part, now)
    local _, in_all = give_back(key, part.instance, part.last, part.cost, 0, now)
    return max(part.cost - max(in_all, part.refunded), 0)
end

-- Makes each first part of a receipt hold its true cost: gives back what is too much, the latest top-up first, or charges
-- what is missing.
--
-- keys: a count for each first part · what is known of the first count's topped-up receipts · the note of an idempotency
-- key if there is one; on a cluster the counts' helpers.
-- arguments: time · header: charged at, number of first parts, 1 to take what is there, grace, 1 if there is a note · for each first part: c8
-- instance, last, cost, given back, true cost up to 2^53, what it is above that · for each first part its item, '' where the limit is not known to the
-- caller · for each top-up that the receipt knows: number of its part, instance, last, cost, given back
-- answer: now · 'S' · for each first part: topped up, given back, shortfall, expired · each one's view · the first parts'
-- units given back · the top-ups, as in the arguments; now · 'D' · for each line number, cost and its count's view;
-- now · 'U': a limit to top up is not known; now · 'M': too many parts; now · 'B': bounds do not reach
local function settle(keys, arguments)
    local now = clock(arguments[1])
    local charged_at, count, takes_what_is_there, grace, noted = unpack('<ddddd', arguments[2])
    local firsts, added = {}, {}
    for at = 1, count do
        local instance, last, cost, refunded, target, beyond = unpack('<dddddd', arguments[2 + at])
        firsts[at] = {
            instance = instance, last = last, cost = cost, refunded = refunded, target = target, beyond = beyond, at = at,
        }
    end
    local top_ups, known = read_top_ups(keys[count + 1], now), nil
    for _, receipt in ipairs(top_ups[2]) do
        if receipt[1] == firsts[1].instance and receipt[2] == firsts[1].last then
            known = receipt
        end
    end
    if known then
        for at, part in ipairs(known[4]) do
            added[at] = { at = part[1], instance = part[2], last = part[3], cost = part[4], refunded = part[5], policy = part[6] }
        end
    else
        for at = 3 + 3 * count, #arguments, 2 do
            local number, instance, last, cost, refunded = unpack('<ddddd', arguments[at])
            added[#added + 1] = {
                at = number, instance = instance, last = last, cost = cost, refunded = refunded, policy = arguments[at + 1],
            }
        end
    end
    local may_top_up = now < charged_at + SETTLE_WITHIN and (known or not top_ups[1] or charged_at > top_ups[1])

    local line_keys, items, costs, numbers = {}, {}, {}, {}
    for at, first in ipairs(firsts) do
        first.charged, first.holds = first.cost, held_by(keys[at], first, now)
        for _, part in ipairs(added) do
            if part.at == at then
                first.charged = first.charged + part.cost
                first.holds = first.holds + held_by(keys[at], part, now)
            end
        end
        -- More than any quota is as good as all of it.
        local missing = min(max(first.target - first.charged + first.beyond, 0), MAX_UNIT)
        first.topped_up, first.given_back, first.shortfall = 0, 0, max(first.target - first.holds, 0)
        first.expired = missing > 0 and not may_top_up
        if missing > 0 and may_top_up then
            local item = arguments[2 + count + at]
            if item == '' then
                return { now, 'U' }
            end
            if takes_what_is_there == 1 then
                missing = min(missing, remaining(keys[at], item, now))
            end
            if missing > 0 then
                local line = #items + 1
                line_keys[line], items[line], costs[line], numbers[line] = keys[at], item, missing, at
            end
        end
    end
    if #items > 0 then
        if #items + #added + count > 1024 then
            return { now, 'M' }
        end
        local states, keeps, plans = decide_all(line_keys, items, #items, costs, now)
        if not states then
            local out_of_bounds = keeps
            if out_of_bounds then
                return { now, 'B' }
            end
            local answer = { now, 'D' }
            for at = 1, #items do
                local quota = quota_and_cost(items[at])
                answer[#answer + 1] = pack('<dd', numbers[at], costs[at])
                answer[#answer + 1] = view(line_keys[at], now, quota, costs[at])
            end
            return answer
        end
        enter_all(line_keys, items, #items, states, keeps, plans, now)
        for line, at in ipairs(numbers) do
            local instance, last = granted(states[line])
            local first = firsts[at]
            first.topped_up = costs[line]
            first.shortfall = max(first.shortfall - costs[line], 0)
            added[#added + 1] = {
                at = at, instance = instance, last = last, cost = costs[line], refunded = 0,
                policy = arguments[2 + 2 * count + at],
            }
        end
    end

    for at, first in ipairs(firsts) do
        local excess = max(first.holds - first.target - first.beyond, 0)
        local parts = {}
        for number = #added, 1, -1 do
            if added[number].at == at then
                parts[#parts + 1] = added[number]
            end
        end
        parts[#parts + 1] = first
        for _, part in ipairs(parts) do
            local before = held_by(keys[at], part, now)
            local total = excess > 0 and part.cost - before + min(before, excess) or 0
            local newly, in_all, expired = give_back(keys[at], part.instance, part.last, part.cost, total, now)
            part.refunded = max(part.refunded, in_all)
            first.given_back = first.given_back + newly
            first.expired = first.expired or (expired and excess > 0 and before > 0)
            excess = excess - min(before, excess)
        end
    end

    local kept = {}
    for at, part in ipairs(added) do
        kept[at] = { part.at, part.instance, part.last, part.cost, part.refunded, part.policy }
    end
    if known then
        known[4] = kept
    elseif #added > 0 and may_top_up then
        remember(top_ups, { firsts[1].instance, firsts[1].last, charged_at, kept })
    end
    write_top_ups(keys[count + 1], top_ups, now, grace)

    if reserved then
        keep_reserved()
        for at, first in ipairs(firsts) do
            end_reservation(keys[at], first.instance, first.last, first.cost)
        end
    end
    local answer, in_all = { now, 'S' }, {}
    for at, first in ipairs(firsts) do
        in_all[at] = first.refunded
        answer[2 + at] = pack('<dddd', first.topped_up, first.given_back, first.shortfall, first.expired and 1 or 0)
        answer[2 + count + at] = view_of_own(keys[at], now)
        answer[2 + 2 * count + at] = pack('<d', first.refunded)
    end
    if noted == 1 then
        note_refunds(keys[count + 2], firsts[1].instance, firsts[1].last, in_all, {}, now)
    end
    for _, part in ipairs(added) do
        answer[#answer + 1] = pack('<ddddd', part.at, part.instance, part.last, part.cost, part.refunded)
        answer[#answer + 1] = part.policy
    end
    return answer
end
