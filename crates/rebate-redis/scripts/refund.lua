-- Giving back (core: engine/refund.rs, and `refund` of each algorithm).
--
-- Each algorithm's function answers: units newly given back, in all, and whether the part is expired. The part is
-- `instance`, `last`, `cost`; `total` is how many of its units are to have been given back in all.

local function is_issued(cost, last, gross)
    return cost >= 1 and cost <= last and last <= gross
end

local function refund_fixed(key, whole, instance, last, cost, total, now)
    local shape, identity, start, finish, gross, refunded, quota, charged = unpack('<dddddddd', whole)
    local marks = read_marks(whole, FIXED + 1)
    if identity ~= instance or now >= finish or (now < start and start - now > finish - start)
        or not is_issued(cost, last, gross) or last <= marks.floor then
        return 0, 0, true
    end
    local already = given_back(marks, cost, last)
    local newly = mark(marks, cost, last, total, 0, 0, 1)
    if newly > 0 then
        refunded = refunded + newly
        if gross == refunded and letter_of(whole) == 'F' then
            -- Nothing counts in it: the next charge opens a window of its own.
            drop(key)
        else
            local state = pack('<dddddddd', shape, identity, start, finish, gross, refunded, quota, charged)
            call('SET', key, state .. write_marks(marks), 'KEEPTTL')
        end
    end
    return newly, already + newly, false
end

local function refund_sliding(key, whole, instance, last, cost, total, now)
    local shape, current, previous, start, gross, refunded, gross_before, refunded_before, quota, window, charged =
        unpack('<ddddddddddd', whole)
    local marks, behind = read_marks(whole, SLIDING + 1)
    local marks_before = read_marks(whole, behind)
    local elapsed = now - start
    if -elapsed > window or elapsed - window >= window then
        return 0, 0, true
    end
    if elapsed >= window then
        -- The bucket that was current is the previous one by now.
        start, previous, current = start + window, current, nil
        gross, refunded, gross_before, refunded_before = 0, 0, gross, refunded
        marks, marks_before = { floor = 0 }, marks
    end
    local is_current = instance == current
    if not is_current and instance ~= previous then
        return 0, 0, true
    end
    local of, of_gross = marks_before, gross_before
    if is_current then
        of, of_gross = marks, gross
    end
    if not is_issued(cost, last, of_gross) or last <= of.floor then
        return 0, 0, true
    end
    local already = given_back(of, cost, last)
    local newly = mark(of, cost, last, total, 0, 0, 1)
    if newly > 0 then
        if is_current then
            refunded = refunded + newly
        else
            refunded_before = refunded_before + newly
        end
        -- A current bucket without a charge has no receipts, and gets its identity with the first one.
        local state = pack('<ddddddddddd', shape, current or NO_INSTANCE, previous, start, gross, refunded, gross_before,
            refunded_before, quota, window, charged)
        call('SET', key, state .. write_marks(marks) .. write_marks(marks_before), 'KEEPTTL')
    end
    return newly, already + newly, false
end

-- `units` · T for any number of units, at most about the end of time.
local function span_of_many(units, unit, unit_fraction, denominator)
    if units * unit > MAX_UNIT then
        return MAX_UNIT, 0
    end
    -- By as many units at a time as keep every product within 2^52.
    local most = floor(4503599627370496 / denominator)
    local micros, fraction = 0, 0
    local scale, step, step_fraction = units, unit, unit_fraction
    while scale > 0 do
        local rest = fmod(scale, most)
        local more, more_fraction = span_of(rest, step, step_fraction, denominator)
        micros, fraction = plus(micros, fraction, more, more_fraction, denominator)
        scale = (scale - rest) / most
        if scale > 0 then
            step, step_fraction = span_of(most, step, step_fraction, denominator)
            if scale * step > MAX_UNIT then
                return MAX_UNIT, 0
            end
        end
    end
    return micros, fraction
end

local function refund_bucket(key, whole, instance, last, cost, total, now)
    local shape, identity, tat, fraction, gross, burst, unit_parts, denominator, kept, charged =
        unpack('<dddddddddd', whole)
    local marks = read_marks(whole, BUCKET + 1)
    if tat < now or (tat == now and fraction == 0) then
        return 0, 0, true
    end
    local time = time_behind(tat, burst, unit_parts, denominator, now)
    if not time then
        return 0, 0, true
    end
    if identity ~= instance or not is_issued(cost, last, gross) or last <= marks.floor then
        return 0, 0, true
    end
    local already = given_back(marks, cost, last)
    local newly = max(min(total, cost) - already, 0)
    if newly == 0 then
        return 0, already, false
    end
    -- What has refilled already is not given back: no more than the charge's end on the net axis reaches beyond now.
    local unit, unit_fraction = unit_of(unit_parts, denominator)
    local credit, credit_fraction = span_of_many(newly, unit, unit_fraction, denominator)
    local units, lost, lost_fraction = held_above(marks, last, gross, denominator)
    local later, later_fraction = span_of_many(units, unit, unit_fraction, denominator)
    local unfilled, unfilled_fraction = minus(tat, fraction, time, 0, denominator)
    unfilled, unfilled_fraction = minus(unfilled, unfilled_fraction, later, later_fraction, denominator)
    unfilled, unfilled_fraction = minus(unfilled, unfilled_fraction, lost, lost_fraction, denominator)
    lost, lost_fraction = 0, 0
    if credit > unfilled or (credit == unfilled and credit_fraction > unfilled_fraction) then
        lost, lost_fraction = minus(credit, credit_fraction, unfilled, unfilled_fraction, denominator)
        credit, credit_fraction = unfilled, unfilled_fraction
    end
    newly = mark(marks, cost, last, total, lost, lost_fraction, denominator)
    tat, fraction = minus(tat, fraction, credit, credit_fraction, denominator)
    if tat < now or (tat == now and fraction == 0) then
        drop(key)
    else
        local state = pack('<dddddddddd', shape, identity, tat, fraction, gross, burst, unit_parts, denominator, kept,
            charged)
        call('SET', key, state .. write_marks(marks), 'KEEPTTL')
    end
    return newly, already + newly, false
end

-- Past the bound, forgets the entry refunded whole that is the oldest: its receipt expires. Answers how many are left.
local function forget_oldest(key, time)
    local whole = key .. ':f'
    for _, name in ipairs(call('ZRANGEBYSCORE', whole, '0', time)) do
        call('ZREM', whole, name, name .. 'l')
    end
    local left = call('ZCARD', whole) / 2
    while left > REMEMBERED do
        local oldest = call('ZREVRANGEBYSCORE', whole, '(0', '-inf', 'LIMIT', '0', '1')[1]
        call('ZREM', whole, oldest, sub(oldest, 1, 16))
        left = left - 1
    end
    return left
end

local function refund_entry(key, whole, instance, last, cost, total, now)
    local shape, identity, acted, used, gross, each, first, partly, wholly, kept, quota, span, latest =
        unpack('<ddddddddddddd', whole)
    if acted - now > span or identity ~= instance or not is_whole(key, used, partly) then
        return 0, 0, true
    end
    local time, name = max(now, acted), pack('<dd', last, cost)
    local finish = call('ZSCORE', key .. ':e', name)
    if not finish then
        finish = wholly > 0 and call('ZSCORE', key .. ':f', name)
        local expired = not finish or tonumber(finish) <= time
        return 0, expired and 0 or cost, expired
    end
    if tonumber(finish) <= time then
        return 0, 0, true
    end
    local already = partly > 0 and tonumber(call('HGET', key .. ':p', name)) or 0
    local newly = max(min(total, cost) - already, 0)
    if newly == 0 then
        return 0, already, false
    end
    -- Both are looked at before anything is written: one of a foreign type is an error.
    call('HLEN', key .. ':p')
    call('ZCARD', key .. ':f')
    local left = call('PTTL', key)
    used = used - newly
    if already + newly == cost then
        call('ZREM', key .. ':e', name)
        if tonumber(finish) == latest then
            latest = 0
        end
        if already > 0 then
            partly = partly - call('HDEL', key .. ':p', name)
        end
        call('ZADD', key .. ':f', finish, name, -last, name .. 'l')
        wholly = wholly + 1
        if wholly > REMEMBERED then
            wholly = forget_oldest(key, time)
        end
        if wholly > 0 then
            call('PEXPIRE', key .. ':f', left)
        end
    else
        call('HSET', key .. ':p', name, already + newly)
        call('PEXPIRE', key .. ':p', left)
        if already == 0 then
            partly = partly + 1
        end
    end
    if time >= first then
        local units, ended
        units, ended, first = ended_by(key, time, partly)
        used, partly = used - units, drop_ended(key, ended, partly)
    end
    call('SETRANGE', key, '0', pack('<ddddddddddddd', shape, identity, time, used, gross, each, first, partly, wholly, kept,
        quota, span, latest))
    return newly, already + newly, false
end

-- By a state's letter.
local refund_by = {
    A = refund_fixed, D = refund_fixed, F = refund_fixed, S = refund_sliding, B = refund_bucket, L = refund_entry,
    C = refund_entry,
}
-- What is shorter is no state.
local shortest = { A = FIXED + 1, D = FIXED + 1, F = FIXED + 1, S = SLIDING + 1, B = BUCKET + 1, L = ENTRIES + 1, C = ENTRIES + 1 }

-- What is under a name; nothing where that is of a foreign type. Somebody else has put it there, so what was there is
-- gone: that shall not keep other parts from being given back.
local function own(key)
    local bytes = try('GET', key)
    if type_of(bytes) ~= 'table' then
        return bytes
    elseif sub(bytes.err, 1, 9) ~= 'WRONGTYPE' then
        raise(bytes)
    end
    return false
end

-- Gives back up to `total` of one part.
local function give_back(key, instance, last, cost, total, now)
    local whole = own(key)
    if whole and has_reservations(whole) then
        whole = without_reservations(key, whole, now)
    end
    local refund = whole and refund_by[letter_of(whole)]
    if not refund or #whole < shortest[letter_of(whole)] then
        return 0, 0, true
    end
    local newly, in_all, expired = refund(key, whole, instance, last, cost, total, now)
    if newly > 0 and reserved then
        -- At once: of another part there may be an error.
        keep_reserved(key)
    end
    return newly, in_all, expired
end

-- What the caller needs to tell a count's status: its header; of entries, also what `look_at_entries` answers and when
-- it says nothing any more. Nil where something is to be given back first, and this call may not write.
local function view(key, now, quota, cost)
    local state = state_of(key, now)
    if not state then
        return nil
    end
    local letter = letter_of(state)
    if #state > ENTRIES and (letter == 'L' or letter == 'C') then
        return sub(state, 1, ENTRIES + 1) .. pack('<dddd', look_at_entries(key, state, now, quota, cost))
    end
    return #state > LONGEST_HEADER and sub(state, 1, LONGEST_HEADER) or state
end

-- The same, where the count may be gone and somebody else's key in its place.
local function view_of_own(key, now)
    return own(key) and view(key, now, 0, 1) or ''
end

-- Notes what was given back of the charge that an idempotency key billed; once that is everything, the key is free. A lease that
-- has ended by itself, being expired, holds nothing, so that it need not be. By a settlement, at `settled_at`, the charge is reserved
-- no more; unless the key is free already, which it stays.
local function note_refunds(key, first_instance, first_last, in_all, expired, settled_at)
    local bytes = own(key)
    if not bytes then
        return
    end
    local note = cmsgpack.unpack(bytes)
    local parts = note[3]
    if parts[1][3] ~= pack('<d', first_instance) or parts[1][4] ~= first_last then
        return
    end
    local freed, gave_back, changed = true, false, false
    for at = 1, #parts do
        local part = parts[at]
        if (in_all[at] or 0) > part[5] then
            part[5], changed = in_all[at], true
        end
        local is_whole = part[5] >= part[2]
        gave_back = gave_back or is_whole
        freed = freed and (is_whole or (expired[at] and part[6]))
    end
    local reserved_until = note[5]
    if settled_at and reserved_until and settled_at < reserved_until and settled_at < note[1] then
        note[5], changed = nil, true
    end
    if freed and gave_back then
        call('DEL', key)
    elseif changed then
        call('SET', key, cmsgpack.pack(note), 'KEEPTTL')
    end
end

-- keys: one count for each part, then the note of an idempotency key if there is one; on a cluster the counts' helpers.
-- arguments: time · '1' if there is a note · for each part: instance · last · cost · total · what the receipt knows to be given back
-- answer: now · for each part: newly, in all, expired · for each part its view
local function refund(keys, arguments)
    local now, count = clock(arguments[1]), #arguments - 2
    local answer, in_all, ended, first_instance, first_last = { now }, {}, {}, nil, nil
    for at = 1, count do
        local instance, last, cost, total, known = unpack('<ddddd', arguments[at + 2])
        if at == 1 then
            first_instance, first_last = instance, last
        end
        local newly, all, expired = give_back(keys[at], instance, last, cost, total, now)
        in_all[at], ended[at] = max(all, known), expired
        answer[at * 3 - 1], answer[at * 3], answer[at * 3 + 1] = newly, in_all[at], expired and 1 or 0
    end
    for at = 1, count do
        answer[3 * count + 1 + at] = view_of_own(keys[at], now)
    end
    if arguments[2] == '1' then
        note_refunds(keys[count + 1], first_instance, first_last, in_all, ended)
    end
    if reserved then
        keep_reserved()
    end
    return answer
end
