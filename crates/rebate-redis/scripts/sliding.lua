-- The sliding window counter (core: algorithm/sliding.rs). Letter S.
--
-- state: shape · current's instance · previous' instance · quota · window · start · current's gross, refunded
--        · previous' gross, refunded · charged at   [current's marks, previous' marks]
-- item:  shape · fresh · quota · cost · window · tick · ticks · grace   [long key]

local SLIDING = 87
-- The marks behind a header that ends at byte `offset`: of the current bucket, or all, as bytes.
local function bytes_of_marks(tail, offset)
    if #tail <= offset then
        return NO_MARKS
    end
    local _, runs = unpack('<dd', tail, offset + 1)
    return sub(tail, offset + 1, offset + 16 + 40 * runs)
end

local function charge_sliding(key, item, now, given)
    local shape, fresh, quota, cost, window, tick, ticks, grace = unpack('<dddddddd', item)
    cost = given or cost
    local old = call('GET', key) or ''
    local current, previous, start, gross, refunded, gross_before, refunded_before, _
    local opens, marks = true, ''
    if #old > SLIDING then
        local was
        was, current, previous, _, _, start, gross, refunded, gross_before, refunded_before = unpack('<dddddddddd', old)
        if was == shape then
            local elapsed = now - start
            if elapsed < window then
                opens = -elapsed > window
            elseif elapsed - window < window then
                -- The current bucket is the previous one by now. Its marks go along.
                if refunded > 0 then
                    marks = NO_MARKS .. bytes_of_marks(old, SLIDING + 1)
                end
                start, current, previous = start + window, fresh, current
                gross, refunded, gross_before, refunded_before = 0, 0, gross, refunded
                opens = nil
            end
        else
            old = ''
        end
    else
        old = ''
    end
    if opens then
        start, current, previous = now - now % window, fresh, fresh
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
        current = fresh
    end
    if gross > MAX_UNIT - cost then
        current, previous, opens, marks = fresh, fresh, true, ''
        gross, refunded, gross_before, refunded_before = used, 0, used_before, 0
    end
    local state = pack('<ddddddddddd', shape, current, previous, quota, window, start, gross + cost, refunded,
        gross_before, refunded_before, now)
    if opens == false and gross > 0 then
        return state
    end
    -- A refund may have moved it on: then it is kept for longer from its first charge in the bucket on.
    return state .. marks, start + 2 * window - now + grace, opens == false, #item > 64 and sub(item, 65)
end
