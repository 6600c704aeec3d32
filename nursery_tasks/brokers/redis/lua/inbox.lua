-- What a claim begins with: jobs are made of what other programs have put into the lists of its queues.
--
-- `in:<queue>` holds messages, of which this heeds the id, priority, delay, parent and tags; one that cannot be read becomes a
-- job without a task's name, which the worker puts aside. `raw:<queue>` holds what is not looked into at all. The same as
-- `brokers/letters.py` does for others. Each call takes a bounded number, and nothing is done here where there is nothing.

local function take_in()
    local MOST, MOST_BYTES, LONGEST_DELAY = 256, 1048576, 3155760000 -- for one claim, of all queues; a hundred years
    local null = cjson.null
    local SEQUENCES = { -- of a character in UTF-8 that is not ASCII
        '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
        '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
        '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
    }

    local function is_text(value)
        if type(value) ~= 'string' then
            return false
        end
        for _, sequence in ipairs(SEQUENCES) do
            if not string.find(value, '[\128-\255]') then
                return true
            end
            value = string.gsub(value, sequence, ' ') -- a space, so that what stood around it does not come together
        end
        return not string.find(value, '[\128-\255]')
    end

    local function is_name(value)
        local _, length = string.gsub(value, '[^\128-\191]', '')
        return is_text(value) and length >= 1 and length <= 200 and not string.find(value, '[%s%c]')
    end

    local function is_number(value)
        return type(value) == 'number' and value == value and math.abs(value) ~= math.huge
    end

    -- Return what is heeded of a message; nil where any of it is not what it should be.
    local function read(body)
        local of_map = body ~= '' and string.byte(body) >= 128
        local fine, letter = pcall(of_map and cmsgpack.unpack or cjson.decode, body)
        if not fine or type(letter) ~= 'table' or not is_text(letter.task) then
            return nil
        end
        local function given(field)
            local value = letter[field]
            return value ~= null and value or nil
        end
        local id, priority, delay, parent, tags =
            given('id'), given('priority') or 0, given('delay') or 0, given('parent'), given('tags') or {}
        if is_number(id) and id == math.floor(id) and math.abs(id) <= 9007199254740992 then
            id = string.format('%.0f', id)
        elseif id == '' then
            id = nil
        end
        if id and (type(id) ~= 'string' or not is_name(id)) or parent and not is_text(parent) or type(tags) ~= 'table' then
            return nil
        end
        if not is_number(priority) or priority ~= math.floor(priority) or not is_number(delay) then
            return nil
        end
        local words = {}
        for i = 1, #tags do
            if not is_text(tags[i]) then
                return nil
            end
            words[i] = tags[i]
        end
        return {
            id = id, task = letter.task, parent = parent, tags = words,
            priority = math.min(math.max(priority, 0), 9), delay = math.min(math.max(delay, 0), LONGEST_DELAY),
        }
    end

    local function store(queue, body, raw)
        local too_large = #body > HARD_PAYLOAD_BYTES
        local letter = not raw and not too_large and read(body) or { task = '', tags = {}, priority = 0, delay = 0 }
        local known = letter.id and find(letter.id)
        if known then
            if known.s[OWNER] and known.s[STATE] <= STARTED then
                detach(known) -- somebody else may rely on it from now on
            end
            return
        end
        local n = string.format('%014d', call('INCR', P .. 'seq'))
        local id = letter.id or string.sub(redis.sha1hex(ARGV[5] .. n), 1, 32)
        local about = encode({
            id, queue, letter.task, letter.priority, RESULT_TTL_SECONDS, DEFAULT_MAX_CRASHES, null,
            letter.parent or null, letter.tags, raw,
        })
        local due = now + letter.delay
        local waits = due > now
        local s = {
            waits and SCHEDULED or READY, 0, 0, 0, due, false, now, false, false, false, false, false, false, false, false,
        }
        local job = { n = n, s = s, raw = about, payload = body, dirty = true }
        jobs[n] = job
        dirty[#dirty + 1] = job
        if too_large then
            local reason = string.format('oversize: %d bytes, the most is %d', #body, HARD_PAYLOAD_BYTES)
            job.outcome = cjson.encode({ state = 'dead', reason = reason, ended_at = now })
            s[STATE], s[ENDED_AT] = DEAD, now
        else
            hint(waits and 'due' or 'work', queue)
        end
        if letter.id then
            flush() -- so that the next one finds it
        end
    end

    local keys = {}
    for i = 6, #ARGV do
        keys[#keys + 1] = P .. 'in:' .. ARGV[i]
        keys[#keys + 1] = P .. 'raw:' .. ARGV[i]
    end
    if call('EXISTS', unpack(keys)) == 0 then
        return
    end
    local left, bytes = MOST, MOST_BYTES
    for place, key in ipairs(keys) do
        while left > 0 and bytes > 0 do
            local body = redis.pcall('LPOP', key) -- not `call`: somebody may have made another thing of this key
            if type(body) ~= 'string' then
                break
            end
            left, bytes = left - 1, bytes - #body
            store(ARGV[5 + math.ceil(place / 2)], body, place % 2 == 0)
        end
    end
    done()
    hints = {}
end

take_in()
