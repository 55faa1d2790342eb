-- The sliding window counter (core: algorithm/sliding.rs). Letter S.
--
-- state: shape · current's instance · previous' instance · start · current's gross, refunded · previous' gross, refunded
--        · quota · window · charged at   [current's marks, previous' marks]
-- item:  shape · quota · cost · window · tick · ticks · fresh · grace   [long key]

local SLIDING = 87

-- The marks behind a header that ends at byte `offset`: of the current bucket, or all, as bytes.
local function bytes_of_marks(tail, offset)
    if #tail <= offset then
        return NO_MARKS
    end
    local _, runs = unpack('<dd', tail, offset + 1)
    return sub(tail, offset + 1, offset + 16 + 40 * runs)
end

local function charge_sliding(key, item, now, given, held)
    local shape, quota, cost, window, tick, ticks = unpack('<dddddd', item)
    cost = given or cost
    local old = held or call('GET', key) or ''
    local was, current, previous, start, gross, refunded, gross_before, refunded_before
    local opens, marks = true, ''
    if #old > SLIDING then
        was, current, previous, start, gross, refunded, gross_before, refunded_before = unpack('<dddddddd', old)
        if was == shape then
            local elapsed = now - start
            if elapsed < window then
                opens = -elapsed > window
            elseif elapsed - window < window then
                -- The current bucket is the previous one by now. Its marks go along.
                if refunded > 0 then
                    marks = NO_MARKS .. bytes_of_marks(old, SLIDING + 1)
                end
                start, current, previous = start + window, unpack('<d', item, 49), current
                gross, refunded, gross_before, refunded_before = 0, 0, gross, refunded
                opens = nil
            end
        elseif has_reservations(old) then
            return charge_sliding(key, item, now, given, without_reservations(key, old, now))
        else
            old = ''
        end
    else
        old = ''
    end
    if opens then
        start, current = now - now % window, unpack('<d', item, 49)
        previous = current
        gross, refunded, gross_before, refunded_before = 0, 0, 0, 0
    end
    local used, used_before = gross - refunded, gross_before - refunded_before
    if cost > quota - used then
        return nil, old
    end
    local weight = ticks
    if now > start then
        weight = ticks - floor((now - start) / tick)
    end
    if used_before * weight + (used + cost) * ticks > quota * ticks then
        return nil, old
    end
    if gross == 0 then
        current = unpack('<d', item, 49)
    end
    if gross > MAX_UNIT - cost then
        current, opens, marks = unpack('<d', item, 49), true, ''
        previous = current
        gross, refunded, gross_before, refunded_before = used, 0, used_before, 0
    end
    local state = pack('<ddddddddddd', shape, current, previous, start, gross + cost, refunded, gross_before,
        refunded_before, quota, window, now)
    if opens == false and gross > 0 then
        return state
    end
    -- A refund may have moved it on: then it is kept for longer from its first charge in the bucket on.
    local grace = unpack('<d', item, 57)
    return state .. marks, start + 2 * window - now + grace, opens == false, #item > 64 and sub(item, 65)
end
